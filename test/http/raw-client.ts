import { connect, type Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
}

/** A client of HTTP/1.1 that sends exactly what it is told to, when it is told to. */
export class RawClient {
  readonly socket: Socket;
  readonly answers: Answer[] = [];
  isClosed = false;
  private received = '';
  private waiting: Array<() => void> = [];

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.setEncoding('latin1');
    this.socket.on('data', (chunk: string) => {
      this.received += chunk;
      this.parse();
      this.changed();
    });
    // A server may cut the connection once it has answered.
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.isClosed = true;
      this.changed();
    });
  }

  /** Sends a head, and whatever of its body is given. */
  request(method: string, headers: { readonly [name: string]: string | number | readonly string[] }, body = ''): this {
    const lines = Object.entries(headers).flatMap(([name, value]) =>
      (Array.isArray(value) ? value : [value]).map((one) => `${name}: ${one}`),
    );
    return this.send([`${method} /api/presence/status HTTP/1.1`, 'Host: router', ...lines, '', body].join('\r\n'));
  }

  send(data: string | Uint8Array): this {
    this.socket.write(data);
    return this;
  }

  /** The answer of that number; rejects where the connection ends before. */
  async answer(index = 0): Promise<Answer> {
    for (;;) {
      const answer = this.answers[index];
      if (answer !== undefined) return answer;
      if (this.isClosed) throw new Error(`closed without answer ${index}, after ${JSON.stringify(this.received)}`);
      await this.change();
    }
  }

  async closed(): Promise<void> {
    while (!this.isClosed) await this.change();
  }

  /** Everything that was handed to it has left. */
  async flushed(): Promise<void> {
    while (this.socket.writableLength > 0) await new Promise((resolve) => this.socket.once('drain', resolve));
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private changed(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  private parse(): void {
    for (;;) {
      const end = this.received.indexOf('\r\n\r\n');
      if (end < 0) return;
      const [first = '', ...lines] = this.received.slice(0, end).split('\r\n');
      const headers = Object.fromEntries(
        lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
      );
      const length = Number(headers['content-length'] ?? 0);
      if (this.received.length < end + 4 + length) return;
      const body = this.received.slice(end + 4, end + 4 + length);
      this.received = this.received.slice(end + 4 + length);
      this.answers.push({ status: Number(first.split(' ')[1]), headers, body });
    }
  }
}
