export type { Clock } from '../clock';
export type { ConformanceHook, StoreBackend } from './conformance-world';
export { type FakeClock, fakeClock } from './fake-clock';
export { FakeSocket, fakeSocket } from './fake-socket';
export { type ConformanceCase, storeConformance } from './store-conformance';
