export type { Clock } from '../clock';
export { type FakeClock, fakeClock } from './fake-clock';
export { FakeSocket, fakeSocket } from './fake-socket';
export { type ConformanceCase, type StoreBackend, storeConformance } from './store-conformance';
