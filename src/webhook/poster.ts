import { Agent as HttpAgent, type IncomingMessage, request as requestByHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestByHttps } from 'node:https';
import type { Socket } from 'node:net';
import type { URL } from 'node:url';
import { checkLiteral, lookupPublic } from './addresses';
import { WebhookError } from './errors';

/** A response is not read, but for so much and so long that its connection can be used again. */
const MOST_IGNORED_BYTES = 16_384;
const IGNORED_MS = 1_000;

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
}

/** @internal */
export interface PosterOptions {
  readonly url: URL;
  readonly timeoutMs: number;
  readonly allowPrivate: boolean;
}

/** Posts to one address, with few connections, none of which keeps the process alive. @internal */
export class Poster {
  private readonly agent: HttpAgent | HttpsAgent;

  constructor(private readonly options: PosterOptions) {
    const settings = { keepAlive: true, maxSockets: 4, maxFreeSockets: 1 };
    this.agent = options.url.protocol === 'https:' ? new HttpsAgent(settings) : new HttpAgent(settings);
  }

  /** Resolves when the headers of the response are there; rejects after `timeoutMs`. */
  async post(body: string, headers: { readonly [name: string]: string }): Promise<Answer> {
    if (!this.options.allowPrivate) checkLiteral(this.options.url.hostname);
    try {
      return await this.send(body, headers);
    } catch (error) {
      // The receiver has closed a connection that was kept open, at the moment in which it was used again.
      if ((error as WebhookError & { isReused?: true }).isReused !== true) throw error;
      return this.send(body, headers);
    }
  }

  private send(body: string, headers: { readonly [name: string]: string }): Promise<Answer> {
    const { url, timeoutMs, allowPrivate } = this.options;
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'https:' ? requestByHttps : requestByHttp;
      const request = send(
        {
          agent: this.agent,
          method: 'POST',
          hostname: url.hostname.replace(/^\[|\]$/g, ''),
          ...(url.port === '' ? {} : { port: url.port }),
          path: url.pathname + url.search,
          headers: { ...headers, 'content-length': String(Buffer.byteLength(body)) },
          ...(allowPrivate ? {} : { lookup: lookupPublic as never }),
        },
        (response) => {
          clearTimeout(timer);
          const { statusCode = 0, headers: answered } = response;
          resolve({ status: statusCode, retryAfter: answered['retry-after'] });
          ignore(response);
        },
      );
      const timer = setTimeout(() => {
        request.destroy();
        reject(new WebhookError(`${url.host} did not answer within ${timeoutMs} ms`));
      }, timeoutMs);
      timer.unref();
      request.on('socket', (socket) => socket.unref());
      request.on('error', (error) => {
        clearTimeout(timer);
        const failure =
          error instanceof WebhookError
            ? error
            : new WebhookError(`${url.host} could not be reached: ${error.message}`);
        reject(request.reusedSocket === true ? Object.assign(failure, { isReused: true }) : failure);
      });
      request.on('upgrade', ({ statusCode = 101 }: IncomingMessage, socket: Socket) => {
        clearTimeout(timer);
        socket.destroy();
        resolve({ status: statusCode, retryAfter: undefined });
      });
      request.end(body);
    });
  }
}

/** Ends a response that is long, or drips. */
function ignore(response: IncomingMessage): void {
  let bytes = 0;
  const timer = setTimeout(() => response.destroy(), IGNORED_MS);
  timer.unref();
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MOST_IGNORED_BYTES) response.destroy();
  });
  response.on('error', () => undefined);
  response.on('close', () => clearTimeout(timer));
  response.on('end', () => clearTimeout(timer));
}
