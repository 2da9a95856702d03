import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { WebSocket } from 'ws';
import type { VoiceReport } from '../voice.mjs';

const FILE = fileURLToPath(new URL('../voice.mts', import.meta.url));

/** Two phones that talk through the router, in a process of their own. */
export class Call {
  private constructor(private readonly child: ChildProcess) {}

  static async start(port: number): Promise<Call> {
    const child = fork(FILE, { execArgv: ['--import', 'tsx'], env: { ...process.env, PORT: String(port) } });
    await once(child, 'message');
    return new Call(child);
  }

  /** How long frames took since the last call of it. */
  async report(): Promise<VoiceReport> {
    const answer = once(this.child, 'message');
    this.child.send('report');
    const [report] = (await answer) as [VoiceReport];
    return report;
  }

  async end(): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill();
    await exited;
  }
}

/** The router's part of a call: takes a socket that belongs to it, and returns whether it did. */
export function callRouter(): (socket: WebSocket, url: string | undefined) => boolean {
  let listener: WebSocket | undefined;
  return (socket, url) => {
    const role = new URLSearchParams(url?.slice(2)).get('voice');
    if (role === 'listener') listener = socket;
    else if (role === 'speaker') socket.on('message', (data) => listener?.send(data));
    return role !== null;
  };
}
