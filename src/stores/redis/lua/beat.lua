--[[
  A router is alive. Renews its lease, gives every router a new one where the server itself was away, ends graces that ran
  out, and names the incarnations whose lease has lapsed.

  KEYS[1..6], ARGV[1..7]  see shared.lua; further keys are those of the users whose grace ends
  ARGV[8]                 the incarnation; empty before its first beat
  ARGV[9]                 the next incarnation, which it becomes if this one is not known any more
  ARGV[10]                its lease in milliseconds
  ARGV[11]                the number of its last apply that was acknowledged
  ARGV[12]                how many buckets there are
  ARGV[13]                how many graces one call ends at most

  Result: {"known":bool,"now":ms,"e":epoch,"seq":n,"off":[users, see apply],"more":bool,"dead":[incarnations to reap],
  "sweep":[first bucket, how many],"lost":how often users were found to be missing}. "known" is false where the next incarnation got a lease instead.
]]
local tag, following, lease, acknowledged = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local buckets, most = tonumber(ARGV[12]), tonumber(ARGV[13])
local gap = now - at
-- The clock of this server was set back. Nobody waits for it to catch up.
local isBack = gap < -1000

local leases, order = {}, {}
local scored = call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #scored, 2 do leases[scored[i]] = tonumber(scored[i + 1]) end

local nodes = {}

local function write(name, node)
  call('HSET', KEYS[2], name, format('%d %s %d %d', node.lease, node.pardoned and '1' or '0', node.last, node.claimed))
end

local function renew(name, node)
  leases[name] = now + node.lease
  call('ZADD', KEYS[1], format('%d', leases[name]), name)
end

local fields = call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  local name = fields[i]
  local ms, pardoned, last, claimed = string.match(fields[i + 1], '^(%d+) (%d) (%d+) (%d+)$')
  nodes[name] = { lease = tonumber(ms), pardoned = pardoned == '1', last = tonumber(last), claimed = tonumber(claimed) }
  -- The leases were lost, the routers were not.
  if not leases[name] then renew(name, nodes[name]) end
end
local own = nodes[tag]

for name, deadline in pairs(leases) do
  local node = nodes[name]
  if not node then
    node = { lease = lease, pardoned = false, last = 0, claimed = 0 }
    nodes[name] = node
    write(name, node)
  end
  if deadline > now + node.lease then renew(name, node) end
  if node.claimed > now + 3000 then node.claimed = 0 end
  -- Live routers beat every third of a lease. Where none did for longer than half of one it was the server that was away,
  -- not they, and nobody is dead who was alive before. Once, until a router beats by itself.
  if gap > node.lease / 2 and deadline > at and not node.pardoned then
    node.pardoned = true
    renew(name, node)
    write(name, node)
  end
end

-- Whose acknowledged work is missing was set back to an older state, by a failover for instance.
local isKnown = own ~= nil and leases[tag] > now and own.last >= acknowledged
if isKnown then
  own.pardoned = false
  own.lease = lease
  write(tag, own)
  renew(tag, own)
else
  -- What it may still hold under the old name stays for a lease: time to assert under the new one who is there.
  if leases[tag] and leases[tag] > now then renew(tag, nodes[tag]) end
  local new = nodes[following] or { last = 0, claimed = 0 }
  new.lease, new.pardoned = lease, false
  nodes[following] = new
  write(following, new)
  renew(following, new)
end

local dead = {}
for name, deadline in pairs(leases) do
  local node = nodes[name]
  if deadline <= now and (node.claimed <= now or isBack) then
    -- One router reaps it. Should that one die meanwhile, another does.
    node.claimed = now + math.max(1000, math.min(node.lease, 3000))
    write(name, node)
    dead[#dead + 1] = json(name)
  end
end

local due = call('ZRANGEBYSCORE', KEYS[4], '-inf', isBack and '+inf' or now, 'LIMIT', 0, most)
for _, member in ipairs(due) do
  call('ZREM', KEYS[4], member)
  local colon = string.find(member, ':', 1, true)
  local bucket, id = string.sub(member, 1, colon - 1), string.sub(member, colon + 1)
  local key = ARGV[6] .. bucket
  local record = call('HGET', key, id)
  if record then
    local version, seen, grace, owners = parse(record)
    if version > 0 and owners == ',' then version = flip(key, id, false, seen, 'timeout') end
    save(key, id, version, seen, 0, owners)
  end
end

-- The whole is swept once in four leases, whatever the number of routers.
local place = call('HMGET', KEYS[3], 'sweep', 'swept')
local first, swept = tonumber(place[1]) or 0, tonumber(place[2]) or 0
local elapsed = now - swept
if swept == 0 or elapsed < 0 then elapsed = lease / 3 end
local slice = math.min(buckets, 512, floor(buckets * elapsed / (4 * lease)))
if slice > 0 then
  call('HSET', KEYS[3], 'sweep', format('%d', (first + slice) % buckets), 'swept', format('%d', now))
end

call('HSET', KEYS[3], 'at', format('%d', now))
finish()
-- Without the counts nobody could tell whether buckets are missing too.
if call('HSETNX', KEYS[5], '', 0) == 1 and fields[1] then lose({}) end
return format('{"known":%s,"now":%d,"e":"%s","seq":%d,"off":[%s],"more":%s,"dead":[%s],"sweep":[%d,%d],"lost":%d}',
  tostring(isKnown),
  now, epoch, seq, table.concat(gone, ','), tostring(#due == most), table.concat(dead, ','), first, slice, call('HGET', KEYS[3], 'lost') or 0)
