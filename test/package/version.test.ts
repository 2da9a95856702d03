import { expect, it } from 'vitest';
import packageJson from '../../package.json';
import { VERSION } from '../../src/public/version';

it('the version that routers say they run is that of the package', () => {
  expect(VERSION).toBe(packageJson.version);
});
