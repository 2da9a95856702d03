// Control characters, DEL, C1, the two Unicode line ends, what is not seen, and what turns the direction of text round: what
// could forge a line, steer a terminal, or let one id be read as another.
const UNPRINTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that must not get through
  /[\u0000-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]/g;

/** Text from outside as it may stand in a log line or an error: `123` is `123`, a line break is `\u000a`. @internal */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same without what an address may say of a user, a password, or options that may be either. @internal */
export function withoutCredentials(text: string): string {
  return text.replace(/:\/\/\S*@/g, '://').replace(/(rediss?:\/\/[^\s?]*)\?\S*/g, '$1');
}
