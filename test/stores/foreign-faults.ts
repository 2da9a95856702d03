/** A mistake that somebody makes who writes a store: an edit of one that makes none. */
export interface Fault {
  readonly what: string;
  /** Stands in the source exactly once. */
  readonly find: string;
  readonly put: string;
}

const fault = (what: string, find: string, put: string): Fault => ({ what, find, put });

/** Of the memory store. Each breaks a duty of the port, so a case of the conformance suite has to notice it. */
export const FAULTS: readonly Fault[] = [
  // Leases.
  fault(
    'a lease that has lapsed is renewed',
    'lease !== undefined && lease.deadline > this.elapsed;',
    'lease !== undefined;',
  ),
  fault('a beat makes no lease', 'if (!known) this.leases.set(node.nodeId, renewed);', ''),
  fault('a beat renews no lease', 'if (known) this.leases.set(node.nodeId, renewed);', ''),
  fault(
    'a beat says that every router is known',
    'return { known, now: this.wall };',
    'return { known: true, now: this.wall };',
  ),
  fault(
    'a beat says that no router is known',
    'return { known, now: this.wall };',
    'return { known: false, now: this.wall };',
  ),
  fault('a beat settles nothing', '    this.settle();\n    if (!known)', '    if (!known)'),
  fault(
    'a lease lasts half as long',
    'this.elapsed + node.leaseMs, pardoned',
    'this.elapsed + node.leaseMs / 2, pardoned',
  ),
  fault(
    'a lease lasts twice as long',
    'this.elapsed + node.leaseMs, pardoned',
    'this.elapsed + node.leaseMs * 2, pardoned',
  ),
  fault(
    'leases are those of the first beat, which each later one forgets',
    'if (known) this.leases.set(node.nodeId, renewed);',
    'if (known) lease.pardoned = false;',
  ),
  fault('nobody gets a lease anew', 'if (gap <= lease.leaseMs / 2 || lease.pardoned) continue;', 'continue;'),
  fault('a lease is extended again and again', 'lease.pardoned = true;', ''),
  fault(
    'a router that has beaten since is not given a lease anew a second time',
    'this.elapsed + node.leaseMs, pardoned: false',
    'this.elapsed + node.leaseMs, pardoned: lease?.pardoned === true',
  ),
  fault(
    'the store counts as away only after three leases',
    'gap <= lease.leaseMs / 2 ||',
    'gap <= lease.leaseMs * 2.9 ||',
  ),
  fault(
    'an extended lease is short',
    'Math.max(lease.deadline, this.elapsed + lease.leaseMs)',
    'Math.max(lease.deadline, this.elapsed + lease.leaseMs / 3)',
  ),
  fault(
    'a dead router is never found',
    'if (lease.deadline > this.elapsed) continue;',
    'if (lease.deadline > 0) continue;',
  ),
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
    'for (const user of this.online.values()) {\n      if (!disown',
    'for (const user of Array.from(this.online.values()).slice(0, 100)) {\n      if (!disown',
  ),
  fault(
    'a reap ends graces',
    "if (user.owners.length === 0 && user.grace === undefined) this.flip(user, false, 'node-down');",
    "if (user.owners.length === 0) { this.endGrace(user); this.flip(user, false, 'node-down'); }",
  ),
  fault(
    'a reap ends the graces of users whom others hold',
    "if (user.owners.length === 0 && user.grace === undefined) this.flip(user, false, 'node-down');",
    "if (user.owners.length > 0) this.endGrace(user); else if (user.grace === undefined) this.flip(user, false, 'node-down');",
  ),
  fault(
    'a reap takes users away from everybody',
    'if (!disown(user, nodeId)) continue;',
    'if (!disown(user, nodeId)) continue;\n      user.owners.length = 0;',
  ),
  fault(
    'a dead router stays the owner of users whom others hold, too',
    'if (!disown(user, nodeId)) continue;',
    'if (user.owners.length > 1 || !disown(user, nodeId)) continue;',
  ),
  fault(
    'a dead router stays the owner of users in a grace',
    'if (!disown(user, nodeId)) continue;',
    'if (user.grace !== undefined || !disown(user, nodeId)) continue;',
  ),
  fault(
    'the users of a dead router time out',
    "user.grace === undefined) this.flip(user, false, 'node-down');",
    "user.grace === undefined) this.flip(user, false, 'timeout');",
  ),
  fault(
    'a router that leaves keeps its lease',
    'if (this.leases.delete(node.nodeId)) this.reap(node.nodeId);',
    'this.reap(node.nodeId);',
  ),
  fault(
    'the users of a router that leaves stay',
    'if (this.leases.delete(node.nodeId)) this.reap(node.nodeId);',
    'this.leases.delete(node.nodeId);',
  ),
  fault(
    'a router that nobody knows cannot leave',
    'if (this.leases.delete(node.nodeId)) this.reap(node.nodeId);',
    "if (!this.leases.delete(node.nodeId)) throw new Error('no such router'); this.reap(node.nodeId);",
  ),

  // What a router tells.
  fault(
    'an apply is taken from anybody',
    '    if (!this.leases.has(node.nodeId)) return { known: false };\n    for (const op',
    '    for (const op',
  ),
  fault(
    'an apply that is refused takes effect',
    '    if (!this.leases.has(node.nodeId)) return { known: false };\n    for (const op of ops) this.applyOne(node.nodeId, op);\n    return { known: true };',
    '    for (const op of ops) this.applyOne(node.nodeId, op);\n    return { known: this.leases.has(node.nodeId) };',
  ),
  fault(
    'an apply does not look what time it is',
    'apply(node: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {\n    this.settleNow();',
    'apply(node: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {',
  ),
  fault(
    'an apply takes 500 operations',
    'for (const op of ops) this.applyOne(',
    'for (const op of ops.slice(0, 500)) this.applyOne(',
  ),
  fault(
    'operations take effect in reverse',
    'for (const op of ops) this.applyOne(',
    'for (const op of ops.slice().reverse()) this.applyOne(',
  ),
  fault(
    'joins take effect before whatever else a call says',
    'for (const op of ops) this.applyOne(',
    "for (const op of ops.slice().sort((one, other) => Number(other.kind === 'join') - Number(one.kind === 'join'))) this.applyOne(",
  ),
  fault(
    'of a user only the last operation of a call counts',
    'for (const op of ops) this.applyOne(',
    'for (const op of ops.filter(({ userId }, at) => !ops.slice(at + 1).some((later) => later.userId === userId))) this.applyOne(',
  ),
  fault(
    'what was read is not compared before it is written',
    'for (const op of ops) this.applyOne(node.nodeId, op);',
    `const read = new Map(ops.map(({ userId }) => [userId, (this.users.get(userId)?.owners ?? []).slice()] as const));
    await Promise.resolve();
    for (const [userId, owners] of read) this.userOf(userId).owners = owners;
    for (const op of ops) this.applyOne(node.nodeId, op);`,
  ),
  fault(
    'each operation waits for the one before, and others come in between',
    'for (const op of ops) this.applyOne(node.nodeId, op);',
    `for (const op of ops) {
      const user = this.users.get(op.userId);
      const isOnline = user?.online === true;
      await Promise.resolve();
      if (user !== undefined && user.online !== isOnline) user.online = isOnline;
      this.applyOne(node.nodeId, op);
    }`,
  ),
  fault(
    'calls of one router take effect in any order',
    'for (const op of ops) this.applyOne(node.nodeId, op);',
    `for (let turn = 0; turn < 5 && ops[0]?.kind === 'join'; turn += 1) await Promise.resolve();
    for (const op of ops) this.applyOne(node.nodeId, op);`,
  ),
  fault(
    'a join does not end the grace',
    '      this.endGrace(user);\n      this.see(user, op.ageMs);',
    '      this.see(user, op.ageMs);',
  ),
  fault(
    'a join ends the grace only of whom nobody else holds',
    '      this.endGrace(user);\n      this.see(user, op.ageMs);',
    '      if (user.owners.length === 1) this.endGrace(user);\n      this.see(user, op.ageMs);',
  ),
  fault('a join is told each time', 'if (!user.online) this.flip(user, true, op', 'this.flip(user, true, op'),
  fault(
    'a join twice makes two owners',
    'if (!user.owners.includes(nodeId)) user.owners.push(nodeId);',
    'user.owners.push(nodeId);',
  ),
  fault(
    'a join replaces the router that holds the user',
    'if (!user.owners.includes(nodeId)) user.owners.push(nodeId);',
    'user.owners = [nodeId];',
  ),
  fault('whoever is asserted anew connects', "op.reassert ? 'resync' : 'connect'", "'connect'"),
  fault('whoever connects is found', "op.reassert ? 'resync' : 'connect'", "'resync'"),
  fault(
    'anybody may take a user away',
    'if (user === undefined || !disown(user, nodeId)) return;',
    'if (user === undefined) return;\n    disown(user, nodeId);',
  ),
  fault(
    'a leave takes the user away from everybody',
    'if (user === undefined || !disown(user, nodeId)) return;',
    'if (user === undefined || !disown(user, nodeId)) return;\n    user.owners.length = 0;',
  ),
  fault(
    'a leave of whom others hold is lost',
    'if (user === undefined || !disown(user, nodeId)) return;',
    'if (user === undefined || user.owners.length > 1 || !disown(user, nodeId)) return;',
  ),
  fault(
    'a leave by a router that does not hold the user is a sign of life',
    'if (user === undefined || !disown(user, nodeId)) return;',
    'if (user !== undefined && !user.owners.includes(nodeId)) this.see(user, op.ageMs);\n    if (user === undefined || !disown(user, nodeId)) return;',
  ),
  fault(
    'a drop by a router that does not hold the user begins a grace',
    'if (user === undefined || !disown(user, nodeId)) return;',
    "if (user === undefined || (!disown(user, nodeId) && (op.kind !== 'drop' || !user.online))) return;",
  ),
  fault(
    'a drop begins no grace where another router holds the user',
    'if (op.graceMs > 0 && until',
    'if (op.graceMs > 0 && user.owners.length === 0 && until',
  ),
  fault('a drop shortens the grace', '&& until > (user.grace?.due ?? 0)', ''),
  fault('a grace that runs is never extended', 'until > (user.grace?.due ?? 0)', 'user.grace === undefined'),
  fault('a grace lasts half as long', 'this.elapsed + op.graceMs;', 'this.elapsed + op.graceMs / 2;'),
  fault('a grace lasts twice as long', 'this.elapsed + op.graceMs;', 'this.elapsed + op.graceMs * 2;'),
  fault(
    'a grace begins with the last sign of life',
    'this.elapsed + op.graceMs;',
    'this.elapsed + op.graceMs - op.ageMs;',
  ),
  fault('a grace of 0 is one', 'if (op.graceMs > 0 && until', 'if (until'),
  fault(
    'a leave does not wait for a grace',
    'if (user.owners.length === 0 && user.grace === undefined) {\n      this.flip(user, false, op',
    "if (user.owners.length === 0 && (user.grace === undefined || op.kind === 'leave')) {\n      this.endGrace(user);\n      this.flip(user, false, op",
  ),
  fault(
    'a drop without grace does not wait for a grace that runs',
    'if (user.owners.length === 0 && user.grace === undefined) {\n      this.flip(user, false, op',
    "if (user.owners.length === 0 && (user.grace === undefined || (op.kind === 'drop' && op.graceMs === 0))) {\n      this.endGrace(user);\n      this.flip(user, false, op",
  ),
  fault(
    'a drop without grace is a clean close',
    "op.kind === 'drop' ? 'timeout' : op.reason",
    "op.kind === 'drop' ? 'disconnect' : op.reason",
  ),
  fault(
    'silence is a clean close',
    "op.kind === 'drop' ? 'timeout' : op.reason",
    "op.kind === 'drop' ? 'timeout' : 'disconnect'",
  ),
  fault('a grace ends by a clean close', "this.flip(user, false, 'timeout');", "this.flip(user, false, 'disconnect');"),
  fault(
    'a grace ends whoever holds the user',
    "if (user.owners.length === 0) this.flip(user, false, 'timeout');",
    "this.flip(user, false, 'timeout');",
  ),
  fault(
    'a grace that ends beside a router is not forgotten',
    '      user.grace = undefined;\n      if (user.owners.length === 0) this.flip',
    '      if (user.owners.length === 0) user.grace = undefined;\n      if (user.owners.length === 0) this.flip',
  ),
  fault(
    'graces end in the order of their users',
    `    for (;;) {
      const user = this.graces.take(this.elapsed);
      if (user === undefined) break;
      user.grace = undefined;
      if (user.owners.length === 0) this.flip(user, false, 'timeout');
    }`,
    `    const over: User[] = [];
    for (let user = this.graces.take(this.elapsed); user !== undefined; user = this.graces.take(this.elapsed)) over.push(user);
    over.sort((one, other) => (one.userId < other.userId ? -1 : 1));
    for (const user of over) {
      user.grace = undefined;
      if (user.owners.length === 0) this.flip(user, false, 'timeout');
    }`,
  ),
  fault(
    'graces end in the order in which they began',
    `    for (;;) {
      const user = this.graces.take(this.elapsed);
      if (user === undefined) break;
      user.grace = undefined;
      if (user.owners.length === 0) this.flip(user, false, 'timeout');
    }`,
    `    const over: User[] = [];
    for (let user = this.graces.take(this.elapsed); user !== undefined; user = this.graces.take(this.elapsed)) over.push(user);
    for (const user of over.reverse()) {
      user.grace = undefined;
      if (user.owners.length === 0) this.flip(user, false, 'timeout');
    }`,
  ),
  fault(
    'one call ends one grace',
    "      if (user.owners.length === 0) this.flip(user, false, 'timeout');\n    }",
    "      if (user.owners.length === 0) this.flip(user, false, 'timeout');\n      break;\n    }",
  ),
  fault('no grace is announced', '        this.tell({ dueMs: op.graceMs });\n', ''),
  fault(
    'a grace is announced in seconds',
    'this.tell({ dueMs: op.graceMs });',
    'this.tell({ dueMs: op.graceMs * 1_000 });',
  ),

  // Activity, and last seen.
  fault(
    'signs of life are taken from anybody',
    '    if (!this.leases.has(node.nodeId)) return { known: false, missing: [] };\n    const missing',
    '    const missing',
  ),
  fault(
    'signs of life do not look what time it is',
    'missing: string[] }> {\n    this.settleNow();',
    'missing: string[] }> {',
  ),
  fault(
    'signs of life count for whoever holds the user',
    'if (user?.owners.includes(node.nodeId)) this',
    'if (user?.online === true) this',
  ),
  fault(
    'signs of life of whom nobody holds count',
    'if (user?.owners.includes(node.nodeId)) this',
    'if (user !== undefined) this',
  ),
  fault('nobody is missing', '      else missing.push(userId);\n', ''),
  fault(
    'signs of life do not move last seen',
    'if (user?.owners.includes(node.nodeId)) this.see(user, ageMs);',
    'if (user?.owners.includes(node.nodeId)) continue;',
  ),
  fault(
    'a sign of life is now',
    '.includes(node.nodeId)) this.see(user, ageMs);',
    '.includes(node.nodeId)) this.see(user, 0);',
  ),
  fault(
    'signs of life that come together have one age',
    '.includes(node.nodeId)) this.see(user, ageMs);',
    '.includes(node.nodeId)) this.see(user, (signs[0] as SignOfLife).ageMs);',
  ),
  fault(
    'a sign of life ends the grace',
    'if (user?.owners.includes(node.nodeId)) this.see(user, ageMs);',
    'if (user?.owners.includes(node.nodeId)) { this.see(user, ageMs); this.endGrace(user); }',
  ),
  fault(
    'a sign of life brings users back',
    'else missing.push(userId);',
    "else { missing.push(userId); this.applyOne(node.nodeId, { kind: 'join', userId, ageMs, reassert: true }); }",
  ),
  fault('1,000 signs of life are 500', 'of signs) {', 'of signs.slice(0, 500)) {'),
  fault(
    'last seen goes back',
    'if (user.lastSeen === null || at > user.lastSeen) user.lastSeen = at;',
    'user.lastSeen = at;',
  ),
  fault(
    'last seen is that of the first join',
    'if (user.lastSeen === null || at > user.lastSeen) user.lastSeen = at;',
    'if (user.lastSeen === null) user.lastSeen = at;',
  ),
  fault('last seen does not mind the age', 'const at = this.wall - ageMs;', 'const at = this.wall;'),
  fault('last seen is ahead by the age', 'const at = this.wall - ageMs;', 'const at = this.wall + ageMs;'),
  fault('a leave is no sign of life', '    this.see(user, op.ageMs);\n    if (op.kind', '    if (op.kind'),
  fault(
    'a join is no sign of life',
    '      this.see(user, op.ageMs);\n      if (!user.online)',
    '      if (!user.online)',
  ),
  fault(
    'last seen is forgotten when the user leaves',
    '      this.online.delete(user.userId);\n',
    '      this.online.delete(user.userId);\n      user.lastSeen = null;\n',
  ),

  // What is told.
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
    'new Date(this.wall).toISOString()',
    'new Date(user.lastSeen ?? this.wall).toISOString()',
  ),
  fault(
    'a change bears the time in seconds',
    'new Date(this.wall).toISOString()',
    "new Date(this.wall).toISOString().replace(/\\.\\d+/, '')",
  ),
  fault('with a change the user was seen now', 'lastSeen: user.lastSeen ?? this.wall });', 'lastSeen: this.wall });'),
  fault('whoever goes offline is told to be online', "status: online ? 'online' : 'offline',", "status: 'online',"),
  fault(
    'a feed is called from within the call',
    '    Promise.resolve().then(() => this.tellAll());',
    '    this.tellAll();',
  ),
  fault(
    'changes are told in reverse',
    'const item = this.untold[index] as Told;',
    'const item = this.untold[this.untold.length - 1 - index] as Told;',
  ),
  fault(
    'of changes at once only the last is told',
    'for (let index = 0; index < this.untold.length',
    'for (let index = this.untold.length - 1; index < this.untold.length',
  ),
  fault('changes are told again with the next one', 'this.untold.length = 0;', ''),
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
    'this.feeds.set(feed, { since: this.version });',
    `this.feeds.set(feed, { since: this.version });
    for (const { userId, version } of this.online.values()) {
      const update: PresenceUpdate = { userId, status: 'online', timestamp: '', version, reason: 'connect' };
      Promise.resolve().then(() => feed.onTransition(update, 0));
    }`,
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
    'Promise<StoredStatuses> {\n    this.readClock();',
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
    '    return { now: this.wall, users };',
    '    return { now: this.wall, users: users.filter(({ userId }) => this.users.has(userId)) };',
  ),
  fault(
    'a reading is in the order of the ids',
    '    return { now: this.wall, users };',
    '    return { now: this.wall, users: users.sort((one, other) => (one.userId < other.userId ? -1 : 1)) };',
  ),
  fault('a reading of 1,000 is one of 500', 'const users = userIds.map(', 'const users = userIds.slice(0, 500).map('),
  fault(
    'a user never seen was seen now',
    'online: false, lastSeen: null, version: 0 }',
    'online: false, lastSeen: this.wall, version: 0 }',
  ),
  fault(
    'a reading says online for whoever is remembered',
    'return { userId: user.userId, online: user.online,',
    'return { userId: user.userId, online: user.owners.length > 0 || user.lastSeen !== null,',
  ),
  fault(
    'a reading says offline in a grace',
    'return { userId: user.userId, online: user.online,',
    'return { userId: user.userId, online: user.owners.length > 0,',
  ),
  fault('a page repeats the last user', 'if (user.version <= after) continue;', 'if (user.version < after) continue;'),
  fault(
    'a page leaves out a user',
    'cursor: String(users[limit - 1]?.version), sequence };',
    'cursor: String(user.version), sequence };',
  ),
  fault('a page is longer than asked for', 'if (users.length === limit) {', 'if (users.length > limit) {'),
  fault(
    'there is one page',
    'if (users.length === limit) {',
    'if (users.length === limit && cursor === null) {\n        return { now: this.wall, users, cursor: null, sequence };\n      }\n      if (users.length === limit) {',
  ),
  fault(
    'a page shows who has left',
    'of this.online.values()) {\n      if (user.version',
    'of this.users.values()) {\n      if (user.version',
  ),
  fault('any cursor will do', 'if (cursor !== null && !/^[1-9]\\d{0,15}$/.test(cursor)) {', "if (cursor === '') {"),
  fault(
    'a page says to be older than it is',
    'version: this.version };\n    for',
    'version: Math.max(0, this.version - 1) };\n    for',
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
    'const user = this.userOf(op.userId);',
    "if (op.userId in {}) throw new Error('it is taken');\n      const user = this.userOf(op.userId);",
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
    'a sign of life makes the lease that was lost',
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
