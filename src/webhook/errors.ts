/** A webhook was not delivered. `deliver` sends the same changes again. */
export class WebhookError extends Error {
  /** Wait at least so long, in milliseconds: the receiver has asked for it. */
  declare readonly retryAfterMs?: number;
  /** The receiver wants no more. */
  declare readonly ended?: true;

  constructor(
    message: string,
    { retryAfterMs, ended }: { readonly retryAfterMs?: number; readonly ended?: true } = {},
  ) {
    super(message);
    this.name = 'WebhookError';
    if (retryAfterMs !== undefined) this.retryAfterMs = retryAfterMs;
    if (ended !== undefined) this.ended = ended;
  }
}
