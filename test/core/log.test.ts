import { stripVTControlCharacters } from 'node:util';
import createDebug from 'debug';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { log } from '../../src/diagnostics/log';
import { printable } from '../../src/public/printable';
import { router } from './world';

describe('logs under vp:presence', () => {
  const lines: string[] = [];
  const write = createDebug.log;

  beforeEach(() => {
    lines.length = 0;
    createDebug.log = (format: string, ...args: unknown[]) => {
      let index = 0;
      lines.push(format.replace(/%s/g, () => String(args[index++])));
    };
  });
  afterEach(() => {
    createDebug.disable();
    createDebug.log = write;
  });

  /** The lines without their time, namespace and elapsed time. */
  const logged = () =>
    lines.map((line) =>
      stripVTControlCharacters(line)
        .replace(/^.*?vp:presence /, '')
        .replace(/ \+\d+m?s$/, ''),
    );

  // See the presence guide, "Testing", 1 and 5.
  it("are the guide's, word for word", async () => {
    createDebug.enable('vp:*');
    const { connect, clock } = await router();
    const phone = await connect('123');
    phone.emit('pong', Buffer.alloc(0));
    phone.receive(Buffer.from([0x92, 0, 30, 0]));
    phone.close();
    await clock.settle();
    expect(logged()).toEqual([
      'User 123 marked as online',
      '[PONG DETECTED] User 123 responded to PING - refreshing presence',
      'Presence refreshed for 123 via PONG',
      'Presence refreshed for 123 via HEARTBEAT',
      'User 123 marked as offline',
    ]);
  });

  it('no id can forge a line, or steer a terminal', async () => {
    createDebug.enable('vp:presence');
    const { connect } = await router();
    await connect('u\r\nvp:presence User admin marked as online\u001b[2J\u2028\u0085%s%O');
    expect(lines).toHaveLength(1);
    const id = String(lines[0]).slice(String(lines[0]).indexOf('User '));
    expect(id).toContain(
      'User u\\u000d\\u000avp:presence User admin marked as online\\u001b[2J\\u2028\\u0085%s%O marked',
    );
    expect(printable('acme_u1')).toBe('acme_u1');
  });

  // A right-to-left override shows "acme_1u" for another user's id, and invisible characters make two ids look the same.
  it.each([
    ['turned round', 'acme_\u202e1u\u202c', 'acme_\\u202e1u\\u202c'],
    ['isolated', '\u2066admin\u2069', '\\u2066admin\\u2069'],
    ['an Arabic letter mark', 'a\u061cb', 'a\\u061cb'],
    ['not seen', 'ad\u200bmin\u2060\ufeff\u00ad', 'ad\\u200bmin\\u2060\\ufeff\\u00ad'],
  ])('no id looks like another one: %s', async (_, id, shown) => {
    createDebug.enable('vp:presence');
    const { connect, presence } = await router();
    await connect(id);
    expect(String(lines[0])).toContain(`User ${shown} marked as online`);
    expect(() => presence.attachToSocket(id as never, { userId: 'u' })).toThrow(
      JSON.stringify(shown).replace(/\\\\/g, '\\'),
    );
  });

  it('are neither written nor formatted while the namespace is off', async () => {
    const { connect } = await router();
    (await connect('123')).emit('pong', Buffer.alloc(0));
    const untouched = new Proxy({}, { get: () => expect.fail('was formatted') }) as string;
    log.pong(untouched);
    log.heartbeat(untouched);
    log.transition(untouched, 'online');
    log.failure('x', untouched);
    expect(lines).toEqual([]);
  });

  it('a failure is logged where there is no onError', async () => {
    createDebug.enable('vp:presence');
    const { presence, connect } = await router({ onError: undefined as never });
    presence.onUpdate(() => {
      throw new Error('mine');
    });
    await connect('u');
    expect(lines.join()).toContain('listener failed: listener failed: mine');
  });
});
