declare module 'ioredis4' {
  import type { Redis as Redis5 } from 'ioredis';

  const Redis: typeof Redis5;
  export default Redis;
}
