/** A mistake of the author of a store, as an edit of a correct one. */
export interface Fault {
  readonly what: string;
  /** Stands in the source exactly once. */
  readonly find: string;
  readonly put: string;
}

const fault = (what: string, find: string, put: string): Fault => ({ what, find, put });

/** Of the rule. Each breaks a duty of the port, so a case of the conformance suite has to notice it. */
export const RULE_FAULTS: readonly Fault[] = [
  // Leases.
  fault('nobody gets a lease anew', "return 'extend';", "return 'dead';"),
  fault('a lease is extended again and again', ' && !lease.extendedOnce) return', ') return'),
  fault('the store counts as away only after three leases', 'lease.leaseMs / 2;', 'lease.leaseMs * 2.9;'),
  fault('a dead router is never found', "return lease.endsAt > now ? 'runs' : 'dead';", "return 'runs';"),
  fault('a reap ends graces', "publish('node-down');", "graceUntil = 0;\n      publish('node-down');"),
  fault(
    'a reap ends the graces of users whom others hold',
    "publish('node-down');",
    "if (owners.length > 0) graceUntil = 0;\n      publish('node-down');",
  ),
  fault(
    'a reap takes users away from everybody',
    "owners = without(owners, event.owner);\n      publish('node-down');",
    "owners = [];\n      publish('node-down');",
  ),
  fault(
    'a dead router stays the owner of users whom others hold, too',
    "owners = without(owners, event.owner);\n      publish('node-down');",
    "if (owners.length === 1) owners = [];\n      publish('node-down');",
  ),
  fault(
    'a dead router stays the owner of users in a grace',
    "owners = without(owners, event.owner);\n      publish('node-down');",
    "if (graceUntil === 0) owners = without(owners, event.owner);\n      publish('node-down');",
  ),
  fault('the users of a dead router time out', "publish('node-down');", "publish('timeout');"),

  // What a router says.
  fault('a join does not end the grace', 'graceUntil = 0;\n      publish(event.reassert', 'publish(event.reassert'),
  fault(
    'a join ends the grace only of whom nobody else holds',
    'graceUntil = 0;\n      publish(event.reassert',
    'if (owners.length === 1) graceUntil = 0;\n      publish(event.reassert',
  ),
  fault(
    'a join is told each time',
    "publish(event.reassert ? 'resync' : 'connect');",
    "online = true;\n      transitions.push({ online, reason: event.reassert ? 'resync' : 'connect', lastSeen });",
  ),
  fault(
    'a join replaces the router that holds the user',
    'if (!isHeld) owners = owners.concat(event.owner);',
    'owners = [event.owner];',
  ),
  fault('whoever is asserted anew connects', "event.reassert ? 'resync' : 'connect'", "'connect'"),
  fault('whoever connects is found', "event.reassert ? 'resync' : 'connect'", "'resync'"),
  fault(
    'anybody may take a user away',
    "if (!isHeld && event.kind !== 'join') return decided(true);",
    "if (!isHeld && event.kind !== 'join' && event.kind !== 'leave') return decided(true);\n  if (!isHeld && owners.length > 0 && event.kind === 'leave') owners = [event.owner];",
  ),
  fault(
    'a leave takes the user away from everybody',
    'owners = without(owners, event.owner);\n      publish(event.reason);',
    'owners = [];\n      publish(event.reason);',
  ),
  fault(
    'a leave of whom others hold is lost',
    'owners = without(owners, event.owner);\n      publish(event.reason);',
    'if (owners.length === 1) owners = [];\n      publish(event.reason);',
  ),
  fault(
    'a leave by a router that does not hold the user is activity',
    "if (!isHeld && event.kind !== 'join') return decided(true);",
    "if (!isHeld && event.kind === 'leave') lastSeen = Math.max(lastSeen ?? 0, now - event.ageMs);\n  if (!isHeld && event.kind !== 'join') return decided(true);",
  ),
  fault(
    'a drop by a router that does not hold the user begins a grace',
    "if (!isHeld && event.kind !== 'join') return decided(true);",
    "if (!isHeld && event.kind !== 'join' && !(event.kind === 'drop' && online)) return decided(true);",
  ),
  fault(
    'a drop begins no grace where another router holds the user',
    'if (event.graceMs > 0) graceUntil',
    'if (event.graceMs > 0 && owners.length === 0) graceUntil',
  ),
  fault('a drop shortens the grace', 'Math.max(graceUntil, now + event.graceMs)', 'now + event.graceMs'),
  fault(
    'a grace that runs is never extended',
    'Math.max(graceUntil, now + event.graceMs)',
    'graceUntil || now + event.graceMs',
  ),
  fault('a grace lasts half as long', 'now + event.graceMs)', 'now + event.graceMs / 2)'),
  fault('a grace lasts twice as long', 'now + event.graceMs)', 'now + event.graceMs * 2)'),
  fault('a grace begins with the last activity', 'now + event.graceMs)', 'now + event.graceMs - event.ageMs)'),
  fault('a grace of 0 is one', 'if (event.graceMs > 0) graceUntil', 'graceUntil'),
  fault(
    'a leave does not wait for a grace',
    'publish(event.reason);',
    'if (owners.length === 0) graceUntil = 0;\n      publish(event.reason);',
  ),
  fault(
    'a drop without grace does not wait for a grace that runs',
    "publish('timeout');\n      break;",
    "if (event.graceMs === 0 && owners.length === 0) graceUntil = 0;\n      publish('timeout');\n      break;",
  ),
  fault(
    'a drop without grace is a clean close',
    "publish('timeout');\n      break;",
    "publish('disconnect');\n      break;",
  ),
  fault('silence is a clean close', 'publish(event.reason);', "publish('disconnect');"),
  fault('a grace ends by a clean close', "publish(online ? 'timeout' : 'resync');", "publish('disconnect');"),
  fault(
    'a grace ends whoever holds the user',
    'if (graceUntil <= now) graceUntil = 0;',
    'if (graceUntil > 0 && graceUntil <= now) {\n    graceUntil = 0;\n    owners = [];\n  }',
  ),
  fault(
    'a grace that ends beside a router is not forgotten',
    'if (graceUntil <= now) graceUntil = 0;',
    'if (graceUntil <= now && owners.length === 0) graceUntil = 0;',
  ),
  fault(
    'activity counts for whoever holds the user',
    'const isHeld = owners.includes(event.owner);',
    "const isHeld = owners.includes(event.owner) || (event.kind === 'activity' && online);",
  ),
  fault(
    'activity of whom nobody holds counts',
    'const isHeld = owners.includes(event.owner);',
    "const isHeld = owners.includes(event.owner) || event.kind === 'activity';",
  ),
  fault(
    'activity does not move last seen',
    "if (event.kind !== 'dead') lastSeen",
    "if (event.kind !== 'dead' && event.kind !== 'activity') lastSeen",
  ),
  fault('activity is now', 'now - event.ageMs);', "now - (event.kind === 'activity' ? 0 : event.ageMs));"),
  fault(
    'activity ends the grace',
    'switch (event.kind) {',
    "if (event.kind === 'activity') graceUntil = 0;\n  switch (event.kind) {",
  ),
  fault(
    'last seen goes back',
    'Math.max(lastSeen ?? Number.NEGATIVE_INFINITY, now - event.ageMs)',
    'now - event.ageMs',
  ),
  fault(
    'last seen is that of the first join',
    'Math.max(lastSeen ?? Number.NEGATIVE_INFINITY, now - event.ageMs)',
    'lastSeen ?? now - event.ageMs',
  ),
  fault('last seen does not mind the age', 'now - event.ageMs);', 'now);'),
  fault('last seen is ahead by the age', 'now - event.ageMs);', 'now + event.ageMs);'),
  fault(
    'a leave is no activity',
    "if (event.kind !== 'dead') lastSeen",
    "if (event.kind !== 'dead' && event.kind !== 'leave') lastSeen",
  ),
  fault(
    'a join is no activity',
    "if (event.kind !== 'dead') lastSeen",
    "if (event.kind !== 'dead' && (event.kind !== 'join' || lastSeen === null)) lastSeen",
  ),
  fault(
    'last seen is forgotten when the user leaves',
    'publish(event.reason);',
    'publish(event.reason);\n      lastSeen = null;',
  ),

  // Queries.
  fault('a reading says offline in a grace', 'if (record.graceUntil > now) return true;', ''),
  fault(
    'a reading says online for whoever is remembered',
    'if (record.graceUntil > now) return true;',
    'if (record.lastSeen !== null) return true;',
  ),
];

/** Of the memory store. */
export const MEMORY_FAULTS: readonly Fault[] = [
  // Leases.
  fault(
    'a lease that has lapsed is renewed',
    'lease !== undefined && lease.endsAt > this.clock.elapsed;',
    'lease !== undefined;',
  ),
  fault('a beat makes no lease', 'if (!known) this.leases.set(nodeId, renewed);', ''),
  fault('a beat renews no lease', 'if (known) this.leases.set(nodeId, renewed);', ''),
  fault(
    'a beat says that every router is known',
    'return { known, now: this.clock.wall };',
    'return { known: true, now: this.clock.wall };',
  ),
  fault(
    'a beat says that no router is known',
    'return { known, now: this.clock.wall };',
    'return { known: false, now: this.clock.wall };',
  ),
  fault('a beat settles nothing', '    this.settle();\n    if (!known)', '    if (!known)'),
  fault(
    'a lease lasts half as long',
    'this.clock.elapsed + leaseMs, extendedOnce',
    'this.clock.elapsed + leaseMs / 2, extendedOnce',
  ),
  fault(
    'a lease lasts twice as long',
    'this.clock.elapsed + leaseMs, extendedOnce',
    'this.clock.elapsed + leaseMs * 2, extendedOnce',
  ),
  fault(
    'leases are those of the first beat, which each later one forgets',
    'if (known) this.leases.set(nodeId, renewed);',
    'if (known) this.leases.set(nodeId, { ...lease, extendedOnce: false });',
  ),
  fault('an extension is not remembered', 'lease.leaseMs, extendedOnce: true', 'lease.leaseMs, extendedOnce: false'),
  fault(
    'a router that has beaten since is not given a lease anew a second time',
    'this.clock.elapsed + leaseMs, extendedOnce: false',
    'this.clock.elapsed + leaseMs, extendedOnce: lease?.extendedOnce === true',
  ),
  fault('an extended lease is short', 'this.clock.elapsed + lease.leaseMs,', 'this.clock.elapsed + lease.leaseMs / 3,'),
  fault(
    'the lease of a dead router stays',
    '      this.leases.delete(nodeId);\n      this.reap(nodeId);',
    '      this.reap(nodeId);',
  ),
  fault(
    'the users of a dead router stay',
    '      this.leases.delete(nodeId);\n      this.reap(nodeId);',
    '      this.leases.delete(nodeId);',
  ),
  fault(
    'one dead router is taken away in each call, and its lease alone of the others',
    '      this.leases.delete(nodeId);\n      this.reap(nodeId);',
    '      this.leases.delete(nodeId);\n      if (this.leases.size > 0) this.reap(Array.from(this.leases.keys())[0] as string);',
  ),
  fault(
    'of the users of a dead router only the first hundred go',
    'for (const user of this.online.values()) {\n      if (user.record.owners',
    'for (const user of Array.from(this.online.values()).slice(0, 100)) {\n      if (user.record.owners',
  ),
  fault(
    'a router that leaves keeps its lease',
    'if (this.leases.delete(nodeId)) this.reap(nodeId);',
    'this.reap(nodeId);',
  ),
  fault(
    'the users of a router that leaves stay',
    'if (this.leases.delete(nodeId)) this.reap(nodeId);',
    'this.leases.delete(nodeId);',
  ),
  fault(
    'a router that nobody knows cannot leave',
    'if (this.leases.delete(nodeId)) this.reap(nodeId);',
    "if (!this.leases.delete(nodeId)) throw new Error('no such router'); this.reap(nodeId);",
  ),

  // What a router tells.
  fault(
    'an apply is taken from anybody',
    '    if (!this.leases.has(nodeId)) return { known: false };\n    for (const op',
    '    for (const op',
  ),
  fault(
    'an apply that is refused takes effect',
    '    if (!this.leases.has(nodeId)) return { known: false };\n    for (const op of ops) {',
    '    if (!this.leases.has(nodeId)) {\n      for (const op of ops) this.change(this.userOf(op.userId), { ...op, owner: nodeId });\n      return { known: false };\n    }\n    for (const op of ops) {',
  ),
  fault(
    'an apply does not look what time it is',
    'apply({ nodeId }: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {\n    this.settleNow();',
    'apply({ nodeId }: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {',
  ),
  fault('an apply takes 500 operations', 'for (const op of ops) {', 'for (const op of ops.slice(0, 500)) {'),
  fault('operations take effect in reverse', 'for (const op of ops) {', 'for (const op of ops.slice().reverse()) {'),
  fault(
    'joins take effect before whatever else a call says',
    'for (const op of ops) {',
    "for (const op of ops.slice().sort((one, other) => Number(other.kind === 'join') - Number(one.kind === 'join'))) {",
  ),
  fault(
    'of a user only the last operation of a call counts',
    'for (const op of ops) {',
    'for (const op of ops.filter(({ userId }, at) => !ops.slice(at + 1).some((later) => later.userId === userId))) {',
  ),
  fault(
    'what was read is not compared before it is written',
    'for (const op of ops) {',
    `const read = new Map(ops.map(({ userId }) => [userId, this.users.get(userId)?.record ?? NEVER_SEEN] as const));
    await Promise.resolve();
    for (const [userId, record] of read) {
      const user = this.userOf(userId);
      user.record = { ...user.record, owners: record.owners };
    }
    for (const op of ops) {`,
  ),
  fault(
    'each operation waits for the one before, and others come in between',
    'for (const op of ops) {',
    `for (const op of ops) {
      const other = this.users.get(op.userId);
      const isOnline = other?.record.online === true;
      await Promise.resolve();
      if (other !== undefined && other.record.online !== isOnline) other.record = { ...other.record, online: isOnline };`,
  ),
  fault(
    'calls of one router take effect in any order',
    'for (const op of ops) {',
    `for (let turn = 0; turn < 5 && ops[0]?.kind === 'join'; turn += 1) await Promise.resolve();
    for (const op of ops) {`,
  ),
  fault(
    'a user whom nobody has seen before can not join',
    "const user = op.kind === 'join' ? this.userOf(op.userId) : this.users.get(op.userId);",
    'const user = this.users.get(op.userId);',
  ),
  fault(
    'graces end in the order of their users',
    `    for (let user = this.graces.take(elapsed); user !== undefined; user = this.graces.take(elapsed)) {
      this.change(user, { kind: 'due' });
    }`,
    `    const over: User[] = [];
    for (let user = this.graces.take(elapsed); user !== undefined; user = this.graces.take(elapsed)) over.push(user);
    over.sort((one, other) => (one.userId < other.userId ? -1 : 1));
    for (const user of over) this.change(user, { kind: 'due' });`,
  ),
  fault(
    'graces end in the order in which they began',
    `    for (let user = this.graces.take(elapsed); user !== undefined; user = this.graces.take(elapsed)) {
      this.change(user, { kind: 'due' });
    }`,
    `    const over: User[] = [];
    for (let user = this.graces.take(elapsed); user !== undefined; user = this.graces.take(elapsed)) over.push(user);
    for (const user of over.reverse()) this.change(user, { kind: 'due' });`,
  ),
  fault(
    'one call ends one grace',
    "this.change(user, { kind: 'due' });",
    "this.change(user, { kind: 'due' });\n      break;",
  ),
  fault('a grace that has run out is forgotten', "this.change(user, { kind: 'due' });", ''),
  fault(
    'no grace is announced',
    '    if (graceUntil > 0) this.queue.add({ dueMs: graceUntil - this.clock.elapsed });\n',
    '',
  ),
  fault(
    'a grace is announced in seconds',
    'dueMs: graceUntil - this.clock.elapsed',
    'dueMs: (graceUntil - this.clock.elapsed) * 1_000',
  ),

  // Activity.
  fault(
    'activity is taken from anybody',
    '    if (!this.leases.has(nodeId)) return { known: false, missing: [] };\n    const missing',
    '    const missing',
  ),
  fault(
    'activity does not look what time it is',
    'missing: string[] }> {\n    this.settleNow();',
    'missing: string[] }> {',
  ),
  fault('nobody is missing', '      if (!isHeld) missing.push(userId);\n', ''),
  fault(
    'activity that comes together has one age',
    "{ kind: 'activity', owner: nodeId, ageMs }",
    "{ kind: 'activity', owner: nodeId, ageMs: (signs[0] as SignOfLife).ageMs }",
  ),
  fault(
    'activity brings users back',
    'if (!isHeld) missing.push(userId);',
    "if (!isHeld) {\n        missing.push(userId);\n        this.change(this.userOf(userId), { kind: 'join', owner: nodeId, ageMs, reassert: true });\n      }",
  ),
  fault('1,000 activities are 500', 'of signs) {', 'of signs.slice(0, 500)) {'),

  // Notifications of feeds.
  fault('versions do not grow', 'this.version += 1;', 'this.version = Math.max(1, this.version);'),
  fault('each second version is left out', 'this.version += 1;', 'this.version += 2;'),
  fault('each user has a counter of its own', '    user.version = this.version;\n', '    user.version += 1;\n'),
  fault(
    'who leaves keeps the version',
    '    user.version = this.version;\n',
    '    if (online) user.version = this.version;\n',
  ),
  fault(
    'what is told has the version before',
    '      version: user.version,\n      reason,',
    '      version: user.version - 1,\n      reason,',
  ),
  fault(
    'a change bears the time of last seen',
    'new Date(this.clock.wall).toISOString()',
    'new Date(this.clock.wallTime(lastSeen) ?? this.clock.wall).toISOString()',
  ),
  fault(
    'a change bears the time in seconds',
    'new Date(this.clock.wall).toISOString()',
    "new Date(this.clock.wall).toISOString().replace(/\\.\\d+/, '')",
  ),
  fault(
    'with a change the user was seen now',
    'lastSeen: this.clock.wallTime(lastSeen) ?? this.clock.wall });',
    'lastSeen: this.clock.wall });',
  ),
  fault('whoever goes offline is told to be online', "status: online ? 'online' : 'offline',", "status: 'online',"),
  fault(
    'a feed is called from within the call',
    '    Promise.resolve().then(() => this.drain());',
    '    this.drain();',
  ),
  fault(
    'changes are told in reverse',
    'const item = this.queued[index] as FeedEvent;',
    'const item = this.queued[this.queued.length - 1 - index] as FeedEvent;',
  ),
  fault(
    'of changes at once only the last is told',
    'for (let index = 0; index < this.queued.length',
    'for (let index = this.queued.length - 1; index < this.queued.length',
  ),
  fault('changes are told again with the next one', 'this.queued.length = 0;', ''),
  fault(
    'only the feed that came first is told',
    'else if (item.update.version > since) feed.onTransition(item.update, item.lastSeen);',
    'else if (item.update.version > since) { feed.onTransition(item.update, item.lastSeen); break; }',
  ),
  fault(
    'only the feed that came last is told',
    'this.feeds.set(feed, {',
    'this.feeds.clear();\n    this.feeds.set(feed, {',
  ),
  fault(
    'a feed is told what was before it',
    'return this.queue.subscribe(feed, this.version);',
    `for (const { userId, version } of this.online.values()) {
      const update: PresenceUpdate = { userId, status: 'online', timestamp: '', version, reason: 'connect' };
      Promise.resolve().then(() => feed.onTransition(update, 0));
    }
    return this.queue.subscribe(feed, this.version);`,
  ),
  fault('a feed that has unsubscribed is told', '      this.feeds.delete(feed);\n', ''),
  fault('who ends one feed ends all', '      this.feeds.delete(feed);\n', '      this.feeds.clear();\n'),
  fault(
    'who ends a feed twice fails',
    '      this.feeds.delete(feed);\n',
    "      if (!this.feeds.delete(feed)) throw new Error('it has ended');\n",
  ),

  // Queries.
  fault(
    'a reading does not look what time it is',
    'Promise<StoredStatuses> {\n    this.settleNow();',
    'Promise<StoredStatuses> {',
  ),
  fault(
    'a count does not look what time it is',
    'Promise<number> {\n    this.settleNow();',
    'Promise<number> {\n    this.readClock();',
  ),
  fault('a count is of all who are remembered', 'return this.online.size;', 'return this.users.size;'),
  fault(
    'a reading gives each user once',
    'const users = userIds.map(',
    'const users = Array.from(new Set(userIds)).map(',
  ),
  fault(
    'a reading leaves out whom it does not know',
    '    return { now: this.clock.wall, users };',
    '    return { now: this.clock.wall, users: users.filter(({ userId }) => this.users.has(userId)) };',
  ),
  fault(
    'a reading is in the order of the ids',
    '    return { now: this.clock.wall, users };',
    '    return { now: this.clock.wall, users: users.sort((one, other) => (one.userId < other.userId ? -1 : 1)) };',
  ),
  fault('a reading of 1,000 is one of 500', 'const users = userIds.map(', 'const users = userIds.slice(0, 500).map('),
  fault(
    'a user never seen was seen now',
    'online: false, lastSeen: null, version: 0 }',
    'online: false, lastSeen: this.clock.wall, version: 0 }',
  ),
  fault('a page repeats the last user', 'if (user.version <= after) continue;', 'if (user.version < after) continue;'),
  fault('a page leaves out a user', 'return paged(String(last));', 'return paged(String(user.version));'),
  fault('a page is longer than asked for', 'unproven.length === limit)', 'unproven.length > limit)'),
  fault('there is one page', 'return paged(String(last));', 'return paged(cursor === null ? null : String(last));'),
  fault(
    'a page shows who has left',
    'of this.online.values()) {\n      if (user.version',
    'of this.users.values()) {\n      if (user.version',
  ),
  fault('any cursor will do', 'if (cursor !== null && !/^[1-9]\\d{0,15}$/.test(cursor)) {', "if (cursor === '') {"),
  fault(
    'a page says to be older than it is',
    'epoch: this.epoch, version: this.version }',
    'epoch: this.epoch, version: Math.max(0, this.version - 1) }',
  ),

  // Ids.
  fault(
    'ids have no case',
    'let user = this.users.get(userId);',
    'let user = this.users.get(userId) ?? Array.from(this.users.values()).find((other) => other.userId.toLowerCase() === userId.toLowerCase());',
  ),
  fault(
    'ids are normalized',
    'let user = this.users.get(userId);',
    'let user = this.users.get(userId) ?? Array.from(this.users.values()).find((other) => other.userId.normalize() === userId.normalize());',
  ),
  fault(
    'ids are trimmed',
    'let user = this.users.get(userId);',
    'let user = this.users.get(userId) ?? Array.from(this.users.values()).find((other) => other.userId.trim() === userId.trim());',
  ),
  fault(
    'ids are keys of an object',
    'for (const op of ops) {',
    "for (const op of ops) {\n      if (op.userId in {}) throw new Error('it is taken');",
  ),
  fault(
    'ids end at a NUL',
    'let user = this.users.get(userId);',
    "let user = this.users.get(userId) ?? this.users.get(userId.split('\\u0000')[0] as string);",
  ),
];

/** Of the store on a server that loses data and messages. */
export const REMOTE_FAULTS: readonly Fault[] = [
  // Messages that get lost.
  fault(
    'nobody asks what was missed while the way was cut',
    'await this.ask(() => undefined);',
    'await Promise.resolve();',
  ),
  fault(
    'an answer that is ahead of what was heard is no reason to look',
    '} else if (data.version > this.heard) {',
    '} else if (data.version < 0) {',
  ),
  fault(
    'of what was missed the log is taken for all',
    'if (missed.length === version - this.heard) {',
    'if (missed.length > 0) {',
  ),
  fault(
    'what was missed is told to nobody',
    'for (const change of missed) this.take(change);',
    'this.heard = version;',
  ),
  fault(
    'of what was missed only the last change is told',
    'for (const change of missed) this.take(change);',
    'this.take(missed[missed.length - 1] as Change);',
  ),
  fault(
    'what was missed is told in reverse',
    'for (const change of missed) this.take(change);',
    'for (const change of missed.reverse()) this.take(change);\n      this.heard = version;',
  ),
  fault(
    'what was heard is told again with what was missed',
    'const missed = log.filter(({ update }) => update.version > this.heard);',
    'for (const change of log) if (change.update.version <= this.heard) for (const feed of this.feeds.keys()) feed.onTransition(change.update, change.lastSeen);\n    const missed = log.filter(({ update }) => update.version > this.heard);',
  ),
  fault(
    'a gap that the log does not reach over is not told',
    '      this.heard = version;\n      this.tellGap();',
    '      this.heard = version;',
  ),
  fault('messages are lost for good once the way was cut', 'front.isCut = false;', 'front.isCut = true;'),

  // Data that get lost.
  fault('other data are no gap', 'if (!isFirst) this.tellGap();', 'if (isFirst) this.tellGap();'),
  fault(
    'of other data one hears what comes next, and does not wait for an answer',
    '      const isFirst = this.epoch === 0;',
    '      const isFirst = true;',
  ),
  fault(
    'versions start over after a loss',
    'if (highest <= this.version) return;',
    'if (highest <= this.version || this.version === 0) return;',
  ),
  fault(
    'a router whose work was lost is known',
    'return { known: answer.known && !isOlder };',
    'return { known: answer.known || isOlder };',
  ),
  fault(
    'an apply makes the lease that was lost',
    'const answer = data.store.apply({ ...node, nodeId: id }, ops);',
    'data.store.beat({ ...node, nodeId: id });\n      const answer = data.store.apply({ ...node, nodeId: id }, ops);',
  ),
  fault(
    'an activity creates the lease that was lost',
    'return (await this.ask((data) => data.store.refresh({ ...node, nodeId }, signs))).answer;',
    `return (await this.ask((data) => {
      data.store.beat({ ...node, nodeId });
      return data.store.refresh({ ...node, nodeId }, signs);
    })).answer;`,
  ),
  fault(
    'two stores that come at once begin data of their own',
    'if (this.data === undefined) this.data = new Data(',
    'if (this.data === undefined) {\n      await Promise.resolve();\n      this.data = undefined;\n    }\n    if (this.data === undefined) this.data = new Data(',
  ),

  // Data that are set back.
  fault(
    'an apply does not look whether acknowledged work is missing',
    '      if ((data.applied.get(id) ?? 0) < applied) return { known: false };\n',
    '',
  ),
  fault(
    'a beat does not look whether acknowledged work is missing',
    'own.applied > 0 && (await this.lacksWork(own));',
    'own.applied < 0;',
  ),
  fault(
    'a router whose work is missing keeps what it held before',
    'if (isOlder) this.renew(node, own);',
    'if (isOlder) own.applied = 0;',
  ),
  fault('data that were set back go on from where they were', 'data.see(highest, () => this.nextEpoch());', ''),
  fault('data that were set back are the same data', '    this.epoch = nextEpoch();\n', ''),
  fault(
    'the log of data that were set back is believed',
    '    this.epoch = nextEpoch();\n    this.log.length = 0;',
    '',
  ),
];
