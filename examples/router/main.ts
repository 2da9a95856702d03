import { existsSync } from 'node:fs';
import { configFromEnv, warningsFor } from './config';
import { startRouter } from './router';

if (existsSync('.env')) process.loadEnvFile('.env');

const config = configFromEnv();
const router = await startRouter(config);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void router.close());
for (const warning of warningsFor(config)) console.warn(warning);
// The last word: whoever waits for it may ask, or end this process, from then on.
console.log(`VoicePing router on http://localhost:${router.port}`);
