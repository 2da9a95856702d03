--[[
  The heartbeat of a router. Renews its lease, extends the leases of all routers where this server itself was away, and names
  the incarnations whose lease has lapsed and the users whose grace has ended.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7] routers         hash: incarnation -> JSON, for operators: "name", "address", "version" of this library, and
                          "since", when it started, in milliseconds
  ARGV[11]                the incarnation; empty before its first beat
  ARGV[12]                the next incarnation, which replaces this one if it is no longer known
  ARGV[13]                its lease in milliseconds
  ARGV[14]                the number of its last acknowledged apply, "/", and that of the last one that was sent
  ARGV[15]                the most graces that one call names
  ARGV[16]                from its last beat: the epoch of the data, "/", the version of the last change, "/", "1" where it was not
                          known and has not registered all of its users since, "/", and the live routers, separated by commas
  ARGV[17]                its entry of KEYS[7], without "since" and the closing brace
  ARGV[18]                how long it has been running, in milliseconds
  ARGV[19]                how long this router wants the log to keep a change, in milliseconds

  Result: {"known":bool,"now":ms,"e":epoch,"seq":n,"off":[],"due":[[bucket, user whose grace has ended], ...],"more":whether
  there are more of them,"dead":[incarnations to reap],
  "sweep":[first bucket, number of buckets, turn, see sweep.lua],"lost":how often users were found to be missing,
  "log":[changes, milliseconds] that the log keeps,
  "peers":"the routers that are alive or awaited, separated by commas; also this one, since several may beat through one store"}.
  "known" is false where the next incarnation got a lease instead.
]]
local routersKey = KEYS[7]
local tag, following, lease, numbers, most = ARGV[11], ARGV[12], tonumber(ARGV[13]), ARGV[14], tonumber(ARGV[15])
local beaten, described, upMs, loggedMs = ARGV[16], ARGV[17], tonumber(ARGV[18]), tonumber(ARGV[19])
local acknowledged, sent = match(numbers, '^(%d+)/(%d+)$')
acknowledged, sent = tonumber(acknowledged), tonumber(sent)
local gap = now - at

-- Another program has filled these keys. Without them, routers register their users again under new ids.
if try('ZCARD', leaseKey) > MOST_NODES or try('HLEN', nodesKey) > MOST_NODES then
  discard(leaseKey)
  discard(nodesKey)
end

local function isName(name) return #name <= 256 and match(name, '^[%w_+/=.:~%%-]+$') ~= nil end

local leases = {}
local scored = call('ZRANGE', leaseKey, 0, -1, 'WITHSCORES')
for i = 1, #scored, 2 do
  if isName(scored[i]) then
    leases[scored[i]] = tonumber(scored[i + 1]) or now
  else
    call('ZREM', leaseKey, scored[i])
    junk[#junk + 1] = leaseKey
  end
end

-- Whether the clock of this server was set back: some lease then ends later than it could. A time of the last beat in the future is
-- not enough, since another program may have written it.
local isBack = false
for _, deadline in pairs(leases) do
  if gap < -1000 and deadline > now + lease and deadline < 1e15 then isBack = true end
end

local nodes = {}

local function write(name, node)
  call('HSET', nodesKey, name, composeNode(node))
end

local function renew(name, node)
  leases[name] = now + node.lease
  call('ZADD', leaseKey, format('%d', leases[name]), name)
end

local fields = call('HGETALL', nodesKey)
for i = 1, #fields, 2 do
  local name = fields[i]
  local node = isName(name) and parseNode(fields[i + 1])
  if node then
    nodes[name] = node
    -- The lease was lost, but not the entry of the router.
    if not leases[name] then renew(name, node) end
  else
    drop(nodesKey, name)
  end
end
local own = nodes[tag]

local longest, extendedUntil = lease, 0
for name, deadline in pairs(leases) do
  local node = nodes[name]
  if not node then
    -- The entry was lost, and with it the number of the last apply. No router has sent so many: the router is not known, and a lower
    -- number than the acknowledged one would say that the data were set back.
    node = { lease = lease, extended = false, last = MOST, claimed = 0 }
    nodes[name] = node
    write(name, node)
  end
  if deadline > now + math.max(node.lease, lease) then renew(name, node) end
  if node.claimed > now + 3000 then node.claimed = 0 end
  -- Live routers beat every third of a lease. Where none did for longer than half a lease, this server was away and not the
  -- routers. Then each lease is extended, once until its router beats.
  if judgeLease(node.lease, deadline, node.extended, at, now) == 'extend' then
    node.extended = true
    renew(name, node)
    write(name, node)
    extendedUntil = math.max(extendedUntil, leases[name])
  end
  longest = math.max(longest, node.lease)
end
if meta.extendedUntil > now + longest then call('HDEL', metaKey, 'extended') end
if extendedUntil > 0 then call('HSET', metaKey, 'extended', format('%d %d', now, extendedUntil), 'away', format('%d', at)) end

-- Where acknowledged work is missing, the data were set back to an older state, for example by a failover. A higher number than was
-- sent was written by another program; but one apply may follow a beat that the client repeats.
local isKnown = own ~= nil and leases[tag] > now and own.last >= acknowledged and own.last <= sent + 1
if isKnown then
  own.extended = false
  own.lease = lease
  write(tag, own)
  renew(tag, own)
else
  -- The users whom it holds under the old id stay for a lease, in which it registers them under the new one.
  if leases[tag] and leases[tag] > now then renew(tag, nodes[tag]) end
  local new = nodes[following] or { claimed = 0 }
  new.lease, new.extended, new.last = lease, false, 0
  nodes[following] = new
  write(following, new)
  renew(following, new)
end

-- Describes the router for operators. Another program has filled a hash with too many entries.
if try('HLEN', routersKey) > MOST_NODES then discard(routersKey) end
local current = isKnown and tag or following
if not call('HGET', routersKey, current) then call('HSET', routersKey, current, format('%s,"since":%d}', described, now - upMs)) end

-- The name of a router, which all of its incarnations share.
local function routerOf(name) return match(name, '^[^~]+') or name end
local router, peers, isPeer, isHere = routerOf(following), {}, {}, {}
local function addPeer(name)
  if isPeer[name] or #name > 64 then return end
  isPeer[name] = true
  peers[#peers + 1] = name
end
for name, deadline in pairs(leases) do
  if deadline > now then
    local other = routerOf(name)
    -- A router with an extended lease may be dead, and has not beaten since.
    if not nodes[name].extended then isHere[other] = true end
    addPeer(other)
  end
end

-- A router that is no longer known registers its users again; until then, a missing user may be online, so the router is awaited.
-- Where the data are new or older than at its last beat, the routers of that time are awaited too, until they beat. Live routers
-- do so within half a lease.
local awaited, names, awaitedUntil, isChanged = {}, {}, meta.awaitedUntil, false
if awaitedUntil > now and awaitedUntil <= now + longest then
  for name in string.gmatch(meta.awaited, '[^ ]+') do
    if #names >= MOST_NODES or not isName(name) then
      -- Another program has written the list.
      isChanged = true
      break
    end
    awaited[name] = true
    names[#names + 1] = name
  end
elseif awaitedUntil > 0 then
  call('HDEL', metaKey, 'awaited')
end
local function await(name)
  if awaited[name] or #names >= MOST_NODES or #name > 256 then return end
  awaited[name] = true
  names[#names + 1] = name
  awaitedUntil, isChanged = now + floor(lease / 2), true
end
local isOlder = false
local beatenEpoch, beatenSeq, isTelling, others = match(beaten, '^([^/]*)/([^/]*)/([^/]*)/(.*)$')
if tag ~= '' then
  if not isKnown or isTelling == '1' then await(router) end
  isOlder = beatenEpoch == epoch and meta.seq < (number(beatenSeq) or 0)
  for other in string.gmatch(others, '[^,]+') do
    if other ~= router and (isOlder or (beatenEpoch ~= epoch and not isHere[other])) then await(other) end
  end
  if isKnown and isTelling ~= '1' and awaited[router] then
    for i = #names, 1, -1 do
      if names[i] == router then table.remove(names, i) end
    end
    isChanged = true
  end
end
-- Awaited routers count as alive, so that they are awaited again after another loss.
for _, name in ipairs(names) do addPeer(name) end
if isChanged and #names == 0 then
  call('HDEL', metaKey, 'awaited')
elseif isChanged then
  call('HSET', metaKey, 'awaited', format('%d ', awaitedUntil) .. table.concat(names, ' '))
end

local dead = {}
for name, deadline in pairs(leases) do
  local node = nodes[name]
  if judgeLease(node.lease, deadline, node.extended, at, now) == 'dead' and (node.claimed <= now or isBack) then
    -- One router reaps it, and after this time another one, in case that router dies.
    node.claimed = now + math.max(1000, math.min(node.lease, 3000))
    write(name, node)
    dead[#dead + 1] = json(name)
  end
end

-- Names the users of graces that have ended, so that the caller passes their keys to settle.lua.
if isBack then
  -- All graces that run end at a time of the old clock. They end now, in as many calls as that takes: see settle.lua.
  for _, member in ipairs(try('ZRANGEBYSCORE', graceKey, now, '+inf', 'LIMIT', 0, MOST_GRACES)) do call('ZADD', graceKey, ENDS_NOW, member) end
end
local due, found = {}, try('ZRANGEBYSCORE', graceKey, '-inf', now, 'LIMIT', 0, most)
for _, member in ipairs(found) do
  local bucket, id = match(member, '^(%d+):(.+)$')
  if bucket and #bucket <= 4 and tonumber(bucket) < buckets and isId(id) then
    due[#due + 1] = format('[%d,%s]', bucket, json(id))
  else
    call('ZREM', graceKey, member)
    junk[#junk + 1] = graceKey
  end
end

-- What any router wants the log to keep it keeps, for some leases after the last beat of that router.
local keeps, keepsMs, until_ = logged, loggedMs, now + lease * 10
if meta.logUntil > now and meta.logUntil <= now + max(longest, lease) * 10 then
  if meta.logChanges > keeps or meta.logMs > keepsMs then until_ = meta.logUntil end
  keeps, keepsMs = max(keeps, meta.logChanges), max(keepsMs, meta.logMs)
end
-- Entries that are too old go with the next change; where none is left, all of them go now.
local logFrom = math.min(meta.logFrom, seq)
for _ = 1, 20 do
  local entries = pcall('XRANGE', logKey, format('%d', logFrom), '+', 'COUNT', 1)
  local entry = not isError(entries) and entries[1]
  local id = entry and number(match(entry[1], '^(%d+)'))
  if not id then
    if logFrom > meta.logFrom then call('UNLINK', logKey) end
    break
  end
  local written = number(match(entry[2][2] or '', '"t":(%d+)'))
  if written and written >= now - keepsMs then break end
  logFrom = id + 1
end
meta.logFrom = logFrom
call('HSET', metaKey, 'at', format('%d', now), 'log', format('%d %d %d %d', keeps, keepsMs, until_, logFrom))
finish()
-- Without the counts, it is unknown whether buckets were lost too, and a bucket that is lost before the sweep has counted it would
-- not be noticed. So routers register their users again, now and once the sweep has counted all buckets.
local counting = try('HGET', countKey, '')
local till = counting and number(match(counting, '^~(%d+)$'))
-- No lease is that long.
if till and till > now + math.max(lease * 5, 3600000) then till = now end
local isUncounted = not counting
-- Data that were set back to an older state get a new epoch, since the changes after that state are lost. A call may have raised the
-- version meanwhile, so missing acknowledged work counts, too.
local isSetBack = isOlder or (own ~= nil and own.last < acknowledged)
-- Before the first heartbeat in these data there is nothing to lose.
if at > 0 then
  if isSetBack then
    epoch = time[1] .. '.' .. time[2]
    call('HSET', metaKey, 'epoch', epoch, 'lost', '0', 'lostAt', format('%d', now))
  elseif isUncounted or (till and till <= now) then
    lose({})
  end
end
if isUncounted then call('HSET', countKey, '', format('~%d', now + lease * 5))
elseif counting ~= '0' and not (till and till > now) then call('HSET', countKey, '', '0') end

-- All buckets are swept once in four leases, whatever the number of routers; after a loss at once and thoroughly, at most once a lease.
local place = call('HMGET', metaKey, 'sweep', 'swept', 'round', 'lostAt', 'turn')
local turn = (number(place[5]) or 0) % 16
local first, swept = number(place[1]) or 0, number(place[2]) or 0
local elapsed = now - swept
if swept == 0 or elapsed < 0 then elapsed = lease / 3 end
local slice = math.min(buckets, 512, floor(buckets * elapsed / (4 * lease)))
first = first % buckets
local round, lostAt = number(place[3]) or 0, number(place[4]) or 0
-- The clock was set back, or another program has written the time.
if round > now then round = 0 end
-- A router that is not in these data any more may have left users in them who nobody else speaks for.
local isForgotten = tag ~= '' and not own
if ((lostAt > round and lostAt <= now) or isForgotten) and now - round >= lease then
  slice, turn = buckets, -1
  call('HSET', metaKey, 'round', format('%d', now))
end
if slice > 0 then
  call('HSET', metaKey, 'sweep', format('%d', (first + slice) % buckets), 'swept', format('%d', now))
  if turn >= 0 and first + slice >= buckets then call('HSET', metaKey, 'turn', format('%d', turn + 1)) end
end

return format('{"known":%s,"more":%s,"due":[%s],"dead":[%s],"sweep":[%d,%d,%d],"lost":%d,"log":[%d,%d],"peers":"%s",', tostring(isKnown),
  tostring(#found == most), table.concat(due, ','), table.concat(dead, ','), first, slice, turn,
  number(call('HGET', metaKey, 'lost')) or 0, keeps, keepsMs, table.concat(peers, ',')) .. answered()
