/** The version of this package, as in package.json. @internal */
export const VERSION = '0.1.0';
