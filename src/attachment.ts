import { toInterest } from './arguments';
import type { Connection, LocalUser } from './connections';
import type { Attachment, UserId } from './types';

/** @internal What an attachment asks of its presence. */
export interface AttachmentOwner {
  settled(user: LocalUser): Promise<void>;
  setWatch(connection: Connection, interest: 'all' | Set<string> | undefined): void;
  letGo(connection: Connection): Promise<void>;
}

/** @internal What a caller holds of a connection. There is one a socket, so it is small: `ready` is made when asked for. */
export class SocketAttachment implements Attachment {
  constructor(
    private readonly owner: AttachmentOwner,
    private readonly connection: Connection,
    readonly connectionId: string,
  ) {}

  get userId(): string {
    return this.connection.userId;
  }

  get ready(): Promise<void> {
    const { user } = this.connection;
    return user === undefined ? Promise.resolve() : this.owner.settled(user);
  }

  touch(): void {
    this.connection.signOfLife();
  }

  watch(ids: boolean | Iterable<UserId>): void {
    this.owner.setWatch(this.connection, toInterest(ids));
  }

  detach(): Promise<void> {
    return this.owner.letGo(this.connection);
  }
}

/** For a socket that is closed already, or a presence that is closed or disabled: does nothing. @internal */
export function inertAttachment(userId: string, connectionId: string): Attachment {
  return {
    userId,
    connectionId,
    ready: Promise.resolve(),
    touch: () => undefined,
    watch: (ids) => {
      toInterest(ids);
    },
    detach: () => Promise.resolve(),
  };
}
