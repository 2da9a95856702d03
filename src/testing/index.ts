/**
 * For tests: a fake clock, fake sockets, and the conformance suite for stores.
 * @module voiceping-presence/testing
 */

export type { Clock } from '../public/clock';
export { type FakeClock, fakeClock } from './fake-clock';
export { FakeSocket, fakeSocket } from './fake-socket';
export type { ConformanceHook, ConformancePart, StoreBackend } from './store-backend';
export { type ConformanceCase, storeConformance } from './store-conformance';
