import { startCrowd } from './crowd';

// npx tsx examples/phones/main.ts ws://localhost:3000
const stop = startCrowd(process.argv[2] ?? 'ws://localhost:3000');
process.once('SIGINT', stop);
