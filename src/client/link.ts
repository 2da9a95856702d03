import { readFrame, type Said } from './codec';
import { delayOf } from './globals';
import { LONGEST_PAUSE_MS } from './request-pacer';
import type { WebSocketClass, WebSocketLike } from './types';

const OPEN = 1;

/** How a link ended. @internal */
export interface LinkEnd {
  /** The close code. */
  readonly code?: unknown;
  readonly reason?: unknown;
  /** Of the answer in place of a WebSocket, where it can be known: `ws` says it, browsers do not. */
  readonly status?: number | undefined;
  readonly wasOpen: boolean;
  /** It was given up, and this is when something was heard last; `undefined` where nothing was. */
  readonly silentSince?: number | undefined;
}

/** @internal */
export interface LinkOptions {
  readonly url: string;
  readonly WebSocket: WebSocketClass;
  readonly probeMs: number;
  readonly answerMs: number;
  onOpen(): void;
  onFrame(said: Said): void;
  /** Nothing was heard for a while, or the machine has slept: something is to be sent that is answered. */
  probe(): void;
  /** At most once, and not after `drop`. */
  onEnd(end: LinkEnd): void;
}

/** One connection to a router, from the attempt to its end. @internal */
export interface Link {
  /** @throws whatever the WebSocket says of protocols that cannot be any */
  open(protocols: string[]): void;
  readonly isOpen: boolean;
  /** False where it is not open. */
  send(frame: Uint8Array): boolean;
  /** Finds out at once whether it is alive. */
  wake(): void;
  /** Gives it up, as if nothing had been heard. */
  giveUp(): void;
  /** Lets go of a socket that may be dead: its end may come much later, and is of no interest then. */
  drop(): void;
}

/** @internal */
export function createLink({ url, WebSocket, probeMs, answerMs, onOpen, onFrame, probe, onEnd }: LinkOptions): Link {
  let socket: WebSocketLike | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;
  let wasOpen = false;
  let status: number | undefined;
  let heardAt: number | undefined;
  /** Whether it is being found out if the link is alive. */
  let probing: 'no' | 'due' | 'sent' = 'no';

  function later(run: () => void, ms: number): void {
    clearTimeout(timer);
    timer = setTimeout(run, delayOf(ms));
  }

  function end(how: Omit<LinkEnd, 'wasOpen' | 'status'>): void {
    if (isOver) return;
    link.drop();
    onEnd({ ...how, wasOpen, status });
  }

  const giveUp = (): void => end({ silentSince: heardAt });

  function isAlive(): void {
    probing = 'no';
    later(ask, probeMs);
  }

  function ask(): void {
    if (link.isOpen) {
      probing = 'due';
      // It may have to wait until it is sent, but not for ever.
      later(giveUp, probeMs + LONGEST_PAUSE_MS);
      probe();
    } else giveUp();
  }

  const link: Link = {
    open(protocols) {
      if (isOver) return;
      socket = new WebSocket(url, protocols);
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => {
        wasOpen = true;
        isAlive();
        onOpen();
      };
      socket.onmessage = ({ data }: { data: unknown }) => {
        const said = readFrame(data);
        // Junk is no answer: a link that carries nothing else is dead.
        if (!said) return;
        heardAt = Date.now();
        isAlive();
        onFrame(said);
      };
      socket.onerror = (error?: { readonly message?: unknown }) => {
        const [, answer] = /Unexpected server response: (\d+)/.exec(String(error?.message)) ?? [];
        status = answer === undefined ? status : Number(answer);
      };
      socket.onclose = ({ code, reason }: { readonly code?: unknown; readonly reason?: unknown } = {}) =>
        end({ code, reason });
    },
    get isOpen() {
      return socket?.readyState === OPEN;
    },
    send(frame) {
      if (!socket || !link.isOpen) return false;
      socket.send(frame);
      // Not from when it was wanted. Nor anew with each request.
      if (probing === 'due') later(giveUp, answerMs);
      if (probing === 'due') probing = 'sent';
      return true;
    },
    wake() {
      if (isOver || probing !== 'no') return;
      if (link.isOpen) ask();
      else {
        // What was sent before the machine slept may never be answered.
        probing = 'sent';
        later(giveUp, answerMs);
      }
    },
    giveUp,
    drop() {
      isOver = true;
      clearTimeout(timer);
      if (!socket) return;
      // Not onerror: ws throws what nobody listens to.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      socket = undefined;
    },
  };
  later(giveUp, probeMs);
  return link;
}
