import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { listenShared } from '../../src/diagnostics/shared-listener';

describe('a listener that is shared', () => {
  it('is one, however many listen, and none once nobody does', () => {
    const emitter = new EventEmitter();
    const ends = Array.from({ length: 20 }, () => listenShared(emitter, 'ready', () => undefined));
    expect(emitter.listenerCount('ready')).toBe(1);
    for (const end of ends) end();
    expect(emitter.listenerCount('ready')).toBe(0);
    const end = listenShared(emitter, 'ready', () => undefined);
    expect(emitter.listenerCount('ready')).toBe(1);
    end();
    expect(emitter.listenerCount('ready')).toBe(0);
  });

  it('calls each with what was emitted, and nobody who has ended it during the event', () => {
    const emitter = new EventEmitter();
    const heard: unknown[] = [];
    listenShared(emitter, 'close', (...values) => {
      heard.push(['first', ...values]);
      endSecond();
    });
    const endSecond = listenShared(emitter, 'close', () => heard.push('second'));
    listenShared(emitter, 'close', (...values) => heard.push(['third', ...values]));
    emitter.emit('close', 1000, 'bye');
    expect(heard).toEqual([
      ['first', 1000, 'bye'],
      ['third', 1000, 'bye'],
    ]);
  });
});
