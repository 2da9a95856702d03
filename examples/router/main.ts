import { existsSync } from 'node:fs';
import { configFromEnv, warningsFor } from './config';
import { startRouter } from './router';

if (existsSync('.env')) process.loadEnvFile('.env');

const config = configFromEnv();
const router = await startRouter(config);
console.log(`VoicePing router on http://localhost:${router.port}`);
for (const warning of warningsFor(config)) console.warn(warning);

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void router.close());
