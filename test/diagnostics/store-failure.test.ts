import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { isElsewhere, storeFailure, withoutArguments } from '../../src/diagnostics/store-failure';
import type { StoreErrorKind } from '../../src/public/errors';

const error = (message: string, more: object = {}): Error => Object.assign(new Error(message), more);
const refused = (address: string) => error(`connect ECONNREFUSED ${address}`, { code: 'ECONNREFUSED' });

describe('what servers and clients say', () => {
  it.each<[StoreErrorKind, unknown, words?: string]>([
    // Redis, by version.
    ['auth', error('WRONGPASS invalid username-password pair or user is disabled.')],
    ['auth', error('ERR invalid password')],
    ['auth', error('NOAUTH Authentication required.')],
    ['auth', error('Ready check failed: NOAUTH Authentication required.')],
    ['auth', error("NOPERM this user has no permissions to run the 'evalsha' command")],
    ['auth', error("NOPERM User app has no permissions to run the 'evalsha' command")],
    ['auth', error('NOPERM No permissions to access a channel')],
    ['auth', error('ERR Client sent AUTH, but no password is set')],
    ['auth', error('ERR AUTH <password> called without any password configured for the default user. Are you sure?')],
    ['auth', error("ERR wrong number of arguments for 'auth' command")],
    ['auth', error('DENIED Redis is running in protected mode because protected mode is enabled')],
    ['auth', error('-DENIED Redis is running in protected mode because protected mode is enabled')],
    ['full', error("OOM command not allowed when used memory > 'maxmemory'.")],
    ['full', error("OOM command not allowed when used memory > 'maxmemory'. script: 1f0c, on @user_script:12.")],
    [
      'full',
      error(
        "ERR Error running script (call to f_1f0c): @user_script:12: @user_script: 12: -OOM command not allowed when used memory > 'maxmemory'.",
      ),
    ],
    ['full', error('ERR max number of clients reached')],
    ['full', error('ERR max number of clients + cluster connections reached')],
    ['full', error('ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.')],
    ['readonly', error("READONLY You can't write against a read only replica.")],
    ['readonly', error("READONLY You can't write against a read only slave.")],
    [
      'readonly',
      error(
        "ERR Error running script (call to f_1f0c): @user_script:9: @user_script: 9: -READONLY You can't write against a read only replica.",
      ),
    ],
    ['readonly', error("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")],
    ['readonly', error('NOREPLICAS Not enough good replicas to write.')],
    [
      'readonly',
      error(
        'MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk. Commands that may modify the data set are disabled.',
      ),
    ],
    ['slow', error('BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.')],
    ['slow', error('Command timed out')],
    ['slow', error("Socket timeout. Expecting data, but didn't receive any in 10000ms.")],
    ['slow', error('Redis does not answer')],
    ['slow', error('the previous beat has no answer yet')],
    ['unreachable', error('LOADING Redis is loading the dataset in memory')],
    ['unreachable', error('CLUSTERDOWN The cluster is down')],
    ['unreachable', error('CLUSTERDOWN Hash slot not served')],
    ['unreachable', error('TRYAGAIN Multiple keys request during rehashing of slot')],
    // Node.
    ['unreachable', refused('127.0.0.1:6379')],
    [
      'unreachable',
      error('', {
        code: 'ECONNREFUSED',
        errors: [refused('::1:6379'), refused('127.0.0.1:6379'), refused('::1:6379')],
      }),
      'connect ECONNREFUSED ::1:6379, connect ECONNREFUSED 127.0.0.1:6379',
    ],
    ['unreachable', error('', { code: 'ECONNREFUSED' }), 'ECONNREFUSED'],
    ['unreachable', error('getaddrinfo ENOTFOUND redis')],
    ['unreachable', error('getaddrinfo EAI_AGAIN redis')],
    ['unreachable', error('connect EHOSTUNREACH 10.0.0.9:6379')],
    ['unreachable', error('connect ETIMEDOUT')],
    ['unreachable', error('read ECONNRESET')],
    ['unreachable', error('connect ENOENT /run/redis.sock')],
    // TLS.
    ['unreachable', error('self-signed certificate', { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })],
    ['unreachable', error('self signed certificate in certificate chain')],
    ['unreachable', error('unable to verify the first certificate')],
    ['unreachable', error('certificate has expired')],
    ['unreachable', error("Hostname/IP does not match certificate's altnames: Host: a. is not cert's CN: b")],
    ['unreachable', error('Client network socket disconnected before secure TLS connection was established')],
    [
      'unreachable',
      error(
        'write EPROTO 140:error:1408F10B:SSL routines:ssl3_get_record:wrong version number:../deps/openssl.c:332:\n',
      ),
      'write EPROTO 140:error:1408F10B:SSL routines:ssl3_get_record:wrong version number:../deps/openssl.c:332:',
    ],
    [
      'unreachable',
      error('Protocol error, got "\u0015" as reply type byte'),
      'Protocol error, got "\\u0015" as reply type byte',
    ],
    // ioredis.
    ['unreachable', error('Connection is closed.')],
    ['unreachable', error('Command aborted due to connection close')],
    ['unreachable', error("Stream isn't writeable and enableOfflineQueue options is false")],
    ['unreachable', error("Cluster isn't ready and enableOfflineQueue options is false")],
    [
      'unreachable',
      error(
        'Reached the max retries per request limit (which is 20). Refer to "maxRetriesPerRequest" option for details.',
      ),
    ],
    ['unreachable', error('the Redis client has ended its connection')],
    ['unreachable', error('not connected to Redis: its client is connecting')],
    ['unreachable', error('not connected to Redis: connect ECONNREFUSED ::1:1'), 'connect ECONNREFUSED ::1:1'],
    [
      'auth',
      error('not connected to Redis: WRONGPASS invalid username-password pair'),
      'WRONGPASS invalid username-password pair',
    ],
    ['unreachable', error('None of startup nodes is available')],
    ['unreachable', error('Failed to refresh slots cache.')],
    [
      'unreachable',
      error('Failed to refresh slots cache.', { lastNodeError: refused('127.0.0.1:7000') }),
      'connect ECONNREFUSED 127.0.0.1:7000',
    ],
    [
      'auth',
      error('Failed to refresh slots cache.', { lastNodeError: error('NOAUTH Authentication required.') }),
      'NOAUTH Authentication required.',
    ],
    [
      'other',
      error('Failed to refresh slots cache.', {
        lastNodeError: error('ERR This instance has cluster support disabled'),
      }),
      'ERR This instance has cluster support disabled',
    ],
    [
      'unreachable',
      error(
        'All sentinels are unreachable. Retrying from scratch after 10ms. Last error: connect ECONNREFUSED ::1:26379',
      ),
    ],
    ['auth', error('All sentinels are unreachable and retry is disabled. Last error: NOAUTH Authentication required.')],
    ['auth', error('Too many Cluster redirections. Last error: ReplyError: NOPERM User a has no permissions')],
    // Causes.
    [
      'full',
      error('the store failed', { cause: error('apply failed', { cause: error('OOM command not allowed') }) }),
      'OOM command not allowed',
    ],
    ['auth', error('WRONGPASS x', { cause: error('who knows') }), 'WRONGPASS x'],
    [
      'layout',
      error('the store failed', { cause: error('data of another version', { code: 'ERR_PRESENCE_LAYOUT' }) }),
      'data of another version',
    ],
    // What nobody has seen.
    ['other', error('ERR unknown')],
    ['other', error('WRONGTYPE Operation against a key holding the wrong kind of value')],
    ['other', 'just text', 'just text'],
    ['other', undefined, 'no reason was given'],
    ['other', null, 'no reason was given'],
    ['other', Object.create(null), 'no reason was given'],
    ['other', 7, 'no reason was given'],
    // A word within a word is none.
    ['other', error('ROOM is READONLYISH')],
  ])('%s: %s', (kind, thrown, words) => {
    expect(storeFailure(thrown)).toEqual({ kind, words: words ?? (thrown as Error).message });
  });

  it('errors that lead to each other have an end', () => {
    const one = error('one');
    Object.assign(one, { cause: error('two', { cause: one }) });
    expect(storeFailure(one).kind).toBe('other');
  });

  it('a server that will never do is told from one that will not do now', () => {
    const never = [
      "READONLY You can't write",
      'ERR Error running script: -READONLY',
      'MASTERDOWN Link',
      'NOREPLICAS Not',
    ];
    const now = [
      'OOM command',
      'LOADING Redis',
      'MISCONF Redis',
      'CLUSTERDOWN The',
      'connect ECONNREFUSED',
      'ERR readonly',
    ];
    for (const text of never) {
      expect(isElsewhere(error(text)), text).toBe(true);
      expect(isElsewhere(error('the store failed', { cause: error(text) })), text).toBe(true);
    }
    for (const text of now) expect(isElsewhere(error(text)), text).toBe(false);
  });
});

describe('secrets', () => {
  it.each([
    ["ERR unknown command 'AUTH', with args beginning with: 'hunter2' ", "ERR unknown command 'AUTH'"],
    [
      "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'app' 'hunter2'",
      "ERR unknown command 'HELLO'",
    ],
    ['ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `hunter2`, ', 'ERR unknown command `HELLO`'],
    ['connect to rediss://app:hunter2@redis.example:6380/0 failed', 'connect to rediss://redis.example:6380/0 failed'],
    ['redis://h/0?password=hunter2&db=1 is no URL', 'redis://h/0 is no URL'],
    ['redis://:hunter2/@x@h is no URL', 'redis://h is no URL'],
  ])('are not in the words: %s', (text, words) => {
    expect(storeFailure(error(text)).words).toBe(words);
  });

  // ioredis rejects what waits with the refusal of AUTH, and that with the password.
  it('are not in what is printed with an error', () => {
    const reply = error('WRONGPASS invalid', { command: { name: 'auth', args: ['hunter2'] } });
    expect(inspect(withoutArguments(error('x', { cause: reply })), { depth: 9 })).not.toContain('hunter2');
    expect((reply as { command?: object }).command).toEqual({ name: 'auth' });
    expect(withoutArguments(Object.freeze(error('x', { command: { name: 'get', args: [] } })))).toBeInstanceOf(Error);
  });

  it('no text steers a terminal, and none is long', () => {
    expect(storeFailure(error('a\u001b[2J\u202eb')).words).toBe('a\\u001b[2J\\u202eb');
    expect(storeFailure(error('x'.repeat(10_000))).words).toHaveLength(301);
  });
});
