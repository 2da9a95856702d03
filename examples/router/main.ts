import { existsSync } from 'node:fs';
import { optionsFromEnv } from 'voiceping-presence';
import { startRouter } from './router';
import { storeFromEnv } from './store';

if (existsSync('.env')) process.loadEnvFile('.env');

const { PORT = '3000', USE_AUTHENTICATION, SECRET_KEY } = process.env;
const authenticated = USE_AUTHENTICATION === 'true';
if (authenticated && !SECRET_KEY) throw new Error('USE_AUTHENTICATION is true; SECRET_KEY is required then');

const router = await startRouter({
  port: Number(PORT),
  secretKey: authenticated ? SECRET_KEY : undefined,
  presence: { ...optionsFromEnv(), ...storeFromEnv() },
});
console.log(`VoicePing router on http://localhost:${router.port}`);

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void router.close());
