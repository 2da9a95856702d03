// What the recipe uses of uWebSockets.js 20.x, which is not on npm: for compiling only, from its documentation.
declare module 'uWebSockets.js' {
  type Text = string | ArrayBuffer | Uint8Array;
  interface WebSocket<Data> {
    send(message: Text, isBinary?: boolean, compress?: boolean): number;
    getBufferedAmount(): number;
    end(code?: number, shortMessage?: Text): void;
    close(): void;
    ping(message?: Text): number;
    getUserData(): Data;
  }
  interface HttpRequest {
    getHeader(lowerCaseKey: Text): string;
  }
  interface HttpResponse {
    writeStatus(status: Text): HttpResponse;
    end(body?: Text, closeConnection?: boolean): HttpResponse;
    upgrade<Data>(data: Data, key: Text, protocol: Text, extensions: Text, context: object): void;
  }
  interface WebSocketBehavior<Data> {
    maxPayloadLength?: number;
    idleTimeout?: number;
    sendPingsAutomatically?: boolean;
    upgrade?: (response: HttpResponse, request: HttpRequest, context: object) => void | Promise<void>;
    open?: (socket: WebSocket<Data>) => void | Promise<void>;
    message?: (socket: WebSocket<Data>, message: ArrayBuffer, isBinary: boolean) => void | Promise<void>;
    ping?: (socket: WebSocket<Data>, message: ArrayBuffer) => void;
    pong?: (socket: WebSocket<Data>, message: ArrayBuffer) => void;
    close?: (socket: WebSocket<Data>, code: number, message: ArrayBuffer) => void;
  }
  interface TemplatedApp {
    ws<Data>(pattern: Text, behavior: WebSocketBehavior<Data>): TemplatedApp;
    listen(port: number, callback: (listenSocket: object | false) => void): TemplatedApp;
  }
  export function App(options?: object): TemplatedApp;
}
