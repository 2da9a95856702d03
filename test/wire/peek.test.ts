import { encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { peekMessageType } from '../../src/wire/peek';
import { random } from '../random';

const NIL = null;

describe('peekMessageType', () => {
  it.each<[string, unknown, number]>([
    ['the heartbeat of the guide', { messageType: 30 }, 30],
    ['one with other keys in front', { channelType: 1, fromId: 'acme_u1', toId: '', messageType: 30 }, 30],
    ['one with all kinds of scalars in front', scalars(30), 30],
    ['one with more behind', { messageType: 30, payload: { deep: [1, [2]] } }, 30],
    ['the heartbeat of the router', [0, 30, 'acme_u1', 0], 30],
    ['a heartbeat with a payload', [1, 30, 'acme_u1', 0, Buffer.alloc(5)], 30],
    ['a type above 127', [0, 200, 1], 200],
    ['the shortest', [0, 30], 30],
    ['one of fifteen', Array.from({ length: 15 }, (_, index) => (index === 1 ? 127 : 0)), 127],
    ['one behind a key of 20 letters', { twentylettersexactly: 1, messageType: 30 }, 30],
    ['an audio frame', [1, 3, 'acme_u1', 'acme_u2', Buffer.alloc(100)], 3],
    ['an update of the guide', { messageType: 31, fromId: '123' }, 31],
  ])('reads the type of %s', (_name, message, type) => {
    expect(peekMessageType(encode(message))).toBe(type);
    expect(peekMessageType(Buffer.from(encode(message)))).toBe(type);
  });

  it.each<[string, unknown]>([
    ['nil', encode(NIL)],
    ['a string', encode('messageType')],
    ['an empty map', encode({})],
    ['an empty array', encode([])],
    ['an array of one', encode([30])],
    ['an array whose type is no small integer', encode([0, 'x', 1])],
    ['a map without a type', encode({ fromId: 'u', toId: 'v' })],
    ['a map whose type is a string', encode({ messageType: '30' })],
    ['a map with a container in front', encode({ payload: [1], messageType: 30 })],
    ['a map with a negative type', encode({ messageType: -30 })],
    ['text', 'hello'],
    ['an ArrayBuffer', new ArrayBuffer(8)],
    ['fragments that are none', [Buffer.from([0x92, 0]), 'x']],
    ['fragments in fragments', [[Buffer.from([0x92, 0, 30])], Buffer.from([0])]],
    ['nothing', undefined],
    ['no bytes', Buffer.alloc(0)],
    ['a map cut short', encode({ messageType: 30 }).subarray(0, 12)],
    ['a map cut before its type', encode({ messageType: 30 }).subarray(0, 13)],
    ['a key that is longer than the frame', Buffer.from([0x81, 0xd9, 0xff, 1, 2])],
    ['a key without a length', Buffer.from([0x81, 0xa1, 0x61, 0xd9])],
    ['an array of huge declared length', Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff])],
  ])('passes %s by', (_name, data) => {
    expect(peekMessageType(data)).toBeUndefined();
  });

  it('never throws and never reads past the end', () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    for (let round = 0; round < 100_000; round += 1) {
      const data = Buffer.alloc(dice.below(40));
      for (let at = 0; at < data.length; at += 1) data[at] = dice.below(256);
      if (data.length > 0 && dice.chance(0.5)) data[0] = dice.pick([0x81, 0x84, 0x8f, 0x92, 0x95]);
      const type = peekMessageType(data);
      expect(type === undefined || (type >= 0 && type <= 255)).toBe(true);
    }
  });
});

function scalars(messageType: number): unknown {
  return {
    a: null,
    b: true,
    c: false,
    d: 1.5,
    e: 200,
    f: 60_000,
    g: 2 ** 31,
    h: -1,
    i: -100,
    j: -1_000,
    k: -100_000,
    l: 'x'.repeat(40),
    m: new Uint8Array(3),
    n: 2 ** 40,
    messageType,
  };
}
