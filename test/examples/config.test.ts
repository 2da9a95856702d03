import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { configFromEnv, warningsFor } from '../../examples/router/config';
import { onCleanup, until } from './running';

const SECRET = 'x'.repeat(32);

describe('the settings of the example router', () => {
  it('are open by default, and local', () => {
    const config = configFromEnv({});
    expect(config).toMatchObject({ port: 3000, secretKey: undefined, host: undefined, allowedOrigins: [] });
    expect(warningsFor(config)).toEqual([expect.stringMatching(/believes everybody, and listens on 127\.0\.0\.1\b/)]);
  });

  it('say where it listens, if it believes everybody elsewhere too', () => {
    expect(warningsFor(configFromEnv({ HOST: '0.0.0.0' }))).toEqual([expect.stringContaining('listens on 0.0.0.0')]);
  });

  it('are taken from the environment', () => {
    const config = configFromEnv({
      PORT: '80',
      HOST: '::1',
      USE_AUTHENTICATION: 'true',
      SECRET_KEY: SECRET,
      JWT_ISSUER: 'https://id.example',
      JWT_AUDIENCE: 'router',
      TOKEN_MAX_AGE: '3600',
      ALLOWED_ORIGINS: 'https://a.example, https://b.example',
      PRESENCE_TTL: '75',
    });
    expect(config).toMatchObject({
      port: 80,
      host: '::1',
      secretKey: SECRET,
      issuer: 'https://id.example',
      audience: 'router',
      maxTokenAgeS: 3_600,
      allowedOrigins: ['https://a.example', 'https://b.example'],
      presence: { ttlMs: 75_000 },
    });
    expect(warningsFor(config)).toEqual([]);
  });

  it.each<[string, NodeJS.ProcessEnv]>([
    ['a secret that is short', { SECRET_KEY: 'your-secret-key', TOKEN_MAX_AGE: '60' }],
    ['tokens that never end', { SECRET_KEY: SECRET }],
  ])('warn of %s', (_name, env) => {
    expect(warningsFor(configFromEnv({ USE_AUTHENTICATION: 'true', ...env }))).toHaveLength(1);
  });

  it.each<[string, NodeJS.ProcessEnv]>([
    ['USE_AUTHENTICATION', { USE_AUTHENTICATION: 'TRUE', SECRET_KEY: SECRET }],
    ['USE_AUTHENTICATION', { USE_AUTHENTICATION: '1', SECRET_KEY: SECRET }],
    ['USE_AUTHENTICATION', { USE_AUTHENTICATION: 'true ', SECRET_KEY: SECRET }],
    ['SECRET_KEY', { USE_AUTHENTICATION: 'true' }],
    ['SECRET_KEY', { USE_AUTHENTICATION: 'true', SECRET_KEY: '' }],
    ['TOKEN_MAX_AGE', { TOKEN_MAX_AGE: '1h' }],
    ['TOKEN_MAX_AGE', { TOKEN_MAX_AGE: '0' }],
    ['TOKEN_MAX_AGE', { TOKEN_MAX_AGE: '-1' }],
  ])('stop it where %s is none: %o', (name, env) => {
    expect(() => configFromEnv(env)).toThrow(name);
  });
});

describe('what it says when it starts', () => {
  async function start(env: NodeJS.ProcessEnv): Promise<string[]> {
    const child = spawn(process.execPath, ['--import', 'tsx', 'examples/router/main.ts'], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      env: { ...process.env, PORT: '0', ...env },
    });
    onCleanup(() => child.kill('SIGKILL'));
    let output = '';
    let warnings = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (warnings += chunk));
    const ended = new Promise((resolve) => child.on('close', resolve));
    await until(() => expect(output).toContain('http://localhost:'));
    child.kill('SIGTERM');
    await ended;
    return warnings.split('\n').slice(0, -1);
  }

  it('without authentication: that it believes everybody, in one line', async () => {
    expect(await start({})).toEqual([expect.stringContaining('believes everybody')]);
  });

  it('with authentication: nothing', async () => {
    expect(await start({ USE_AUTHENTICATION: 'true', SECRET_KEY: SECRET, TOKEN_MAX_AGE: '60' })).toEqual([]);
  });
});
