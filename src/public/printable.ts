// Control characters, DEL, C1, the two Unicode line ends, invisible characters, and those that change the direction of text:
// they could forge a log line, control a terminal, or make one id look like another.
const UNPRINTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that must not get through
  /[\u0000-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]/g;

/** Text from outside, escaped for a log line or an error message: a line break becomes `\u000a`. @internal */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Text without the user and the password in an address, and without its query, which may contain them too. @internal */
export function withoutCredentials(text: string): string {
  return text.replace(/:\/\/\S*@/g, '://').replace(/(rediss?:\/\/[^\s?]*)\?\S*/g, '$1');
}
