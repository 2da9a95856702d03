--[[
  What the scripts that only read have in common; it stands before each of them, and is no script of its own.

  KEYS[1] lease, KEYS[2] nodes, KEYS[3] meta  see shared.lua

  Gives parse(record), see shared.lua, and isOnline(version, grace, owners): by grace and leases as they are now, whether or not anybody has told it yet.
]]
local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases, nodes, verdicts = nil, {}, {}
local EPOCH = 1577836800000

local function parse(record)
  local minus, version, seen, grace, owners = string.match(record, '^(-?)(%x+) (%x+)/?(%x*)(.*)$')
  version, seen = tonumber(version, 16), tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  return version, seen, grace == '' and 0 or tonumber(grace, 16) + EPOCH, owners
end

local function load()
  leases = {}
  local scored = call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for i = 1, #scored, 2 do leases[scored[i]] = tonumber(scored[i + 1]) end
  local at = tonumber(call('HGET', KEYS[3], 'at') or '0')
  if now - at <= 500 then return end
  -- The server was away: whoever was alive before is given time, see beat.lua.
  local fields = call('HGETALL', KEYS[2])
  for i = 1, #fields, 2 do
    local lease, pardoned = string.match(fields[i + 1], '^(%d+) (%d)')
    local deadline = leases[fields[i]]
    if deadline and deadline > at and pardoned == '0' and now - at > lease / 2 then leases[fields[i]] = now + 1 end
  end
end

local function hasLease(owners)
  if not leases then load() end
  for owner in string.gmatch(owners, '[^,]+') do
    -- One that stands nowhere is one whose lease was lost; the sweep gives it one.
    if not leases[owner] or leases[owner] > now then return true end
  end
  return false
end

local function isOnline(version, grace, owners)
  if version <= 0 then return false end
  if grace > now then return true end
  local verdict = verdicts[owners]
  if verdict == nil then
    verdict = hasLease(owners)
    verdicts[owners] = verdict
  end
  return verdict
end
