--[[
  What scripts that answer queries have in common; it stands before each of them, after meta.lua, record.lua and decide.lua,
  and is no script of its own.

  A user is online to whoever asks while a grace runs, or a router holds the user whose lease runs. An extended lease does not
  tell a router that waits from one that died. Of users whom nothing else keeps online the presence key knows: it lives for
  as long as the last activity counts.

  What each answer says of the data, for the caller to judge: "e" the epoch, "seq" the version of the last change, "awaited" 1
  where routers have not registered all of their users since the data were lost, "unsure" 1 where a router that lives may not
  have sent a heartbeat yet since this server is back.
]]
local MOST_ROUTERS = 1024
-- A router that lives tries again within a second where its heartbeats fail.
local RETURN_MS = 1500

-- By incarnation what its lease proves: 'live', 'extended' or 'dead'. Then whether that is not sure yet, and whether there is
-- any that is not live.
local function readStanding(leases, nodes, meta)
  local standing, endings, isUnsure, isAny = {}, {}, false, false
  local extendedMs = meta.extendedUntil - meta.extendedAt
  -- Whose extended lease has ended is reaped within another one.
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
      -- The lease was lost, the router was not: a heartbeat makes it anew.
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
  -- Where nobody has sent a heartbeat yet there is no lease at all.
  if not next(standing) then isUnsure, isAny = true, true end
  if isExtended and now < meta.extendedAt + math.min(RETURN_MS, extendedMs / 3) then isUnsure = true end
  return standing, isUnsure, isAny
end

-- Whether a user is online now: 'yes', 'no', or 'key', where the presence key tells. Where the lease of an owner was lost it tells, too.
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

-- Whether a grace has ended, and no heartbeat has noticed.
local function isAnyGraceOver(graces)
  local over = pcall('ZRANGEBYSCORE', graces, '-inf', now, 'LIMIT', 0, 1)
  return not isError(over) and over[1] ~= nil
end

local function isAwaited(meta) return meta.awaitedUntil > now and meta.awaitedUntil <= now + 2147483647 end
