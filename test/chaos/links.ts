import { BadLink, type LinkState } from './bad-link';

/** What the parent asks for: a link to the Redis on a port; that one becomes better or worse, or leads elsewhere. */
export type LinkRequest =
  | { readonly kind: 'start'; readonly number: number; readonly target: number }
  | { readonly kind: 'lead'; readonly number: number; readonly link: number; readonly target: number }
  | { readonly kind: 'become'; readonly number: number; readonly link: number; readonly state: LinkState };

/** The port of a new link; 0 for a link that has become what it should. */
export interface LinkAnswer {
  readonly number: number;
  readonly port: number;
}

const links = new Map<number, BadLink>();

process.on('disconnect', () => process.exit());
process.on('message', async (request: LinkRequest) => {
  let port = 0;
  if (request.kind === 'start') {
    const link = await BadLink.start(request.target);
    port = link.port;
    links.set(port, link);
  } else if (request.kind === 'lead') {
    links.get(request.link)?.leadTo(request.target);
  } else {
    links.get(request.link)?.become(request.state);
  }
  process.send?.({ number: request.number, port } satisfies LinkAnswer);
});
