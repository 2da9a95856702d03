--[[
  What scripts that answer queries have in common; it stands before each of them, after meta.lua, and is no script of its own.

  A router proves that its users are online by a lease that it has renewed itself. Where this server was away every lease is
  extended once, which cannot tell a router that waits from one that died; and where nobody has beaten yet none runs. Of users
  whom nothing else keeps online the key of the contract knows: it lives as long as somebody gives signs of life.

  What each answer says of the data, for the caller to judge: "e" the epoch, "seq" the version of the last change, "awaited" 1
  where routers have not told all of their users since the data were lost, "unsure" 1 where a router that lives may not have
  beaten yet since this server is back.
]]
-- A router that lives tries again within a second where its beats fail.
local RETURN_MS = 1500

-- The incarnations whose lease is their own work; nil where that goes for all that run. Then whether that is not sure yet.
local function findProven(leases, nodes, meta)
  local lease = meta.extendedUntil - meta.extendedAt
  -- What one held whose lease has ended stays as it is until it is reaped.
  local isExtended = meta.extendedAt <= now and lease > 0 and meta.extendedUntil + lease > now
  local running = pcall('ZRANGEBYSCORE', leases, format('(%d', now), '+inf', 'LIMIT', 0, 1)
  if isError(running) or (running[1] and not isExtended) then return nil, false end
  if not running[1] then return {}, true end
  local proven, isAny, fields = {}, false, pcall('HGETALL', nodes)
  if isError(fields) then return nil, false end
  for i = 1, #fields, 2 do
    if match(fields[i + 1], '^%d+ 1 ') then isAny = true else proven[fields[i]] = true end
  end
  if not isAny then return nil, false end
  for name in pairs(proven) do
    local deadline = pcall('ZSCORE', leases, name)
    if type(deadline) ~= 'string' or tonumber(deadline) <= now then proven[name] = nil end
  end
  return proven, now < meta.extendedAt + math.min(RETURN_MS, lease / 3)
end

local function isProven(proven, grace, owners)
  if not proven or grace > now then return true end
  for owner in string.gmatch(owners, '[^,]+') do
    if proven[owner] then return true end
  end
  return false
end

local function isAwaited(meta) return meta.awaitedUntil > now and meta.awaitedUntil <= now + 2147483647 end
