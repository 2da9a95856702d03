declare module 'ws5' {
  import type { WebSocketServer } from 'ws';

  const ws: { Server: typeof WebSocketServer };
  export default ws;
}

declare module 'ws6' {
  import type { WebSocketServer } from 'ws';

  const ws: { Server: typeof WebSocketServer };
  export default ws;
}

declare module 'ws7' {
  import type { WebSocketServer } from 'ws';

  const ws: { Server: typeof WebSocketServer };
  export default ws;
}
