--[[
  A router is alive. Renews its lease, gives every router a new one where the server itself was away, and names the
  incarnations whose lease has lapsed and the users whose grace has ended.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7] routers         hash: incarnation -> JSON, for whoever lists routers: "name", "address", "version" of this library, and
                          "since", when it started, in milliseconds
  ARGV[11]                the incarnation; empty before its first beat
  ARGV[12]                the next incarnation, which it becomes if this one is not known any more
  ARGV[13]                its lease in milliseconds
  ARGV[14]                the number of its last apply that was acknowledged, "/", and that of the last one that was sent
  ARGV[15]                how many graces one call names at most
  ARGV[16]                of its last beat: the epoch of the data, "/", the version of the last change, "/", "1" where it has not told
                          all of its users since it was not known, "/", and the routers that were alive, divided by commas
  ARGV[17]                what is said of the router in KEYS[7], but for the time and the last brace
  ARGV[18]                for how many milliseconds it has been running

  Result: {"known":bool,"now":ms,"e":epoch,"seq":n,"off":[],"due":[[bucket, user whose grace has ended], ...],"more":whether
  there are more of them,"back":whether the clock was set back, so that all graces end now,"dead":[incarnations to reap],
  "sweep":[first bucket, how many],"lost":how often users were found to be missing,
  "peers":"the routers that are alive, this one too, for others may beat through the same store, or awaited, divided by
  commas"}. "known" is false where the next incarnation got a lease instead.
]]
local routersKey = KEYS[7]
local tag, following, lease, numbers, most = ARGV[11], ARGV[12], tonumber(ARGV[13]), ARGV[14], tonumber(ARGV[15])
local beaten, described, upMs = ARGV[16], ARGV[17], tonumber(ARGV[18])
local acknowledged, sent = match(numbers, '^(%d+)/(%d+)$')
acknowledged, sent = tonumber(acknowledged), tonumber(sent)
local gap = now - at

-- Somebody else has written here. Routers then assert anew under new names, and nothing is lost but those of the others.
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

-- The clock of this server was set back, and nobody waits for it to catch up: leases then end later than any may. That a beat
-- lies ahead says nothing by itself: somebody else may have written it.
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
    -- The leases were lost, the routers were not.
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
    node = { lease = lease, extended = false, last = 0, claimed = 0 }
    nodes[name] = node
    write(name, node)
  end
  if deadline > now + math.max(node.lease, lease) then renew(name, node) end
  if node.claimed > now + 3000 then node.claimed = 0 end
  -- Live routers beat every third of a lease. Where none did for longer than half of one it was the server that was away,
  -- not they, and nobody is dead who was alive before. Once, until a router beats by itself.
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

-- Whose acknowledged work is missing was set back to an older state, by a failover for instance. Work that was not sent
-- somebody else has put there; but for the next apply, where the client sends a beat again that was followed by it.
local isKnown = own ~= nil and leases[tag] > now and own.last >= acknowledged and own.last <= sent + 1
if isKnown then
  own.extended = false
  own.lease = lease
  write(tag, own)
  renew(tag, own)
else
  -- What it may still hold under the old name stays for a lease: time to assert under the new one who is there.
  if leases[tag] and leases[tag] > now then renew(tag, nodes[tag]) end
  local new = nodes[following] or { claimed = 0 }
  new.lease, new.extended, new.last = lease, false, 0
  nodes[following] = new
  write(following, new)
  renew(following, new)
end

-- For whoever lists routers. What somebody else has put there is no entry of one.
if try('HLEN', routersKey) > MOST_NODES then discard(routersKey) end
local current = isKnown and tag or following
if not call('HGET', routersKey, current) then call('HSET', routersKey, current, format('%s,"since":%d}', described, now - upMs)) end

-- A router as it is called in all of its incarnations.
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
    -- Whose lease was extended is alive, perhaps, and has told these data nothing.
    if not nodes[name].extended then isHere[other] = true end
    addPeer(other)
  end
end

-- A router that is not known any more tells its users anew, and until it has done so nobody can tell who is offline. Where these
-- are other data than those of its last beat, or older ones, so it is of the routers of that time until they have beaten: those
-- that live do within half a lease.
local awaited, names, awaitedUntil, isChanged = {}, {}, meta.awaitedUntil, false
if awaitedUntil > now and awaitedUntil <= now + longest then
  for name in string.gmatch(meta.awaited, '[^ ]+') do
    if #names >= MOST_NODES or not isName(name) then
      -- Somebody else has written here.
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
-- What is lost once more before they are here is theirs, too.
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
    -- One router reaps it. Should that one die meanwhile, another does.
    node.claimed = now + math.max(1000, math.min(node.lease, 3000))
    write(name, node)
    dead[#dead + 1] = json(name)
  end
end

-- Graces that have ended, for the caller to name the keys of these users, see settle.lua.
local due, found = {}, try('ZRANGEBYSCORE', graceKey, '-inf', isBack and '+inf' or now, 'LIMIT', 0, most)
for _, member in ipairs(found) do
  local bucket, id = match(member, '^(%d+):(.+)$')
  if bucket and #bucket <= 4 and tonumber(bucket) < buckets and isId(id) then
    due[#due + 1] = format('[%d,%s]', bucket, json(id))
  else
    call('ZREM', graceKey, member)
    junk[#junk + 1] = graceKey
  end
end

call('HSET', metaKey, 'at', format('%d', now))
finish()
-- Without the counts nobody could tell whether buckets are missing too, nor of one that is lost before the sweep has counted
-- it anew. Then every router asserts whom it holds, now, and once the sweep has been everywhere.
local counting = try('HGET', countKey, '')
local till = counting and number(match(counting, '^~(%d+)$'))
-- That long no lease is.
if till and till > now + math.max(lease * 5, 3600000) then till = now end
local isUncounted = not counting
-- Data that were set back to an older state begin anew: what changed since then nobody will tell. A call may have raised the
-- version meanwhile, and work that was acknowledged is missing all the same.
local isSetBack = isOlder or (own ~= nil and own.last < acknowledged)
-- In data without a heartbeat everybody registers anyway.
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

-- The whole is swept once in four leases, whatever the number of routers; and after a loss at once, once a lease.
local place = call('HMGET', metaKey, 'sweep', 'swept', 'round', 'lostAt')
local first, swept = number(place[1]) or 0, number(place[2]) or 0
local elapsed = now - swept
if swept == 0 or elapsed < 0 then elapsed = lease / 3 end
local slice = math.min(buckets, 512, floor(buckets * elapsed / (4 * lease)))
first = first % buckets
local round, lostAt = number(place[3]) or 0, number(place[4]) or 0
-- The clock was set back, or somebody else has written it.
if round > now then round = 0 end
if lostAt > round and lostAt <= now and now - round >= lease then
  slice = buckets
  call('HSET', metaKey, 'round', format('%d', now))
end
if slice > 0 then
  call('HSET', metaKey, 'sweep', format('%d', (first + slice) % buckets), 'swept', format('%d', now))
end

return format('{"known":%s,"more":%s,"due":[%s],"back":%s,"dead":[%s],"sweep":[%d,%d],"lost":%d,"peers":"%s",', tostring(isKnown), tostring(#found == most), table.concat(due, ','),
  tostring(isBack), table.concat(dead, ','), first, slice, number(call('HGET', metaKey, 'lost')) or 0,
  table.concat(peers, ',')) .. answered()
