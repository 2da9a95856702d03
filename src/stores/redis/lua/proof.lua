--[[
  The common part of the scripts that answer queries. It is put before each of them, after meta.lua, record.lua and decide.lua,
  and is not a script itself.

  A query says that a user is online while a grace is running, or a router with a running lease holds the user. The router of
  an extended lease may be dead. A user whom only such a router holds is online if there is a presence key, which expires a TTL
  after the last activity.

  Each answer describes the data: "e" is their epoch, "seq" the version of the last change, "awaited" is 1 where routers have not
  registered all of their users since the data were lost, and "unsure" is 1 where a live router may not have sent a heartbeat
  since this server came back.
]]
local MOST_ROUTERS = 1024
-- A live router whose heartbeats fail tries again within a second.
local RETURN_MS = 1500

-- Returns the state of each incarnation by its lease: 'live', 'extended' or 'dead'; whether that is not sure yet; and whether any is
-- not live.
local function readStanding(leases, nodes, meta)
  local standing, endings, isUnsure, isAny = {}, {}, false, false
  local extendedMs = meta.extendedUntil - meta.extendedAt
  -- A router whose extended lease has ended is reaped within another lease.
  local isDoubted = meta.extendedAt <= now and extendedMs > 0 and meta.extendedUntil + extendedMs > now
  local size = pcall('ZCARD', leases)
  local scored = not isError(size) and size <= MOST_ROUTERS and call('ZRANGE', leases, 0, -1, 'WITHSCORES') or {}
  for i = 1, #scored, 2 do
    local name, endsAt = scored[i], tonumber(scored[i + 1]) or 0
    endings[name] = endsAt
    standing[name] = endsAt > now and 'live' or 'dead'
    if endsAt <= now then isDoubted = true end
  end
  if not isDoubted and scored[1] then return standing, false, false end

  size = pcall('HLEN', nodes)
  local fields = not isError(size) and size <= MOST_ROUTERS and call('HGETALL', nodes) or {}
  for i = 1, #fields, 2 do
    local name, endsAt = fields[i], endings[fields[i]]
    local node = parseNode(fields[i + 1])
    if node and not endsAt then
      -- The lease was lost, but not the entry of the router: a heartbeat renews it.
      standing[name], isUnsure = 'extended', true
    elseif node then
      local verdict = judgeLease(node.lease, endsAt, node.extended, meta.at, now)
      if verdict == 'extend' then isUnsure = true end
      if verdict == 'extend' or (verdict == 'runs' and node.extended) then standing[name] = 'extended' end
    end
  end
  local isExtended = false
  for _, how in pairs(standing) do
    if how ~= 'live' then isAny = true end
    if how == 'extended' then isExtended = true end
  end
  -- Before the first heartbeat there are no leases.
  if not next(standing) then isUnsure, isAny = true, true end
  if isExtended and now < meta.extendedAt + math.min(RETURN_MS, extendedMs / 3) then isUnsure = true end
  return standing, isUnsure, isAny
end

-- Whether a user is online now: 'yes', 'no', or 'key', where the presence key decides, also for an owner whose lease was lost.
local function isOnlineNow(grace, owners, standing)
  if grace > now then return 'yes' end
  local answer = 'no'
  for owner in string.gmatch(owners, '[^,]+') do
    local how = standing[owner] or 'extended'
    if how == 'live' then return 'yes' end
    if how == 'extended' then answer = 'key' end
  end
  return answer
end

-- Whether a grace has run out that no heartbeat has ended yet.
local function isAnyGraceOver(graces)
  local over = pcall('ZRANGEBYSCORE', graces, '-inf', now, 'LIMIT', 0, 1)
  return not isError(over) and over[1] ~= nil
end

local function isAwaited(meta) return meta.awaitedUntil > now and meta.awaitedUntil <= now + 2147483647 end
