--[[
  What every script that finds users by their buckets begins with; it is no script of its own.

  The hash "meta" says how these data are laid out. What another tenant of the server has put there counts as missing.

    layout   the number of this layout; a router of another one changes nothing
    seed     16 hexadecimal digits: which bucket a user is in depends on them, so nobody outside can choose ids that meet.
             The digits after them are the base: the version from which records count
    epoch    "<seconds>.<microseconds>": when these data began
    seq      the version of the last change. New data begin at a version that follows from the time, which is above all that
             were given before, whoever writes first: see FLOOR_PER_MS
    at       when a router beat last, in milliseconds
    extended "<when> <until>": the last time that leases were extended because this server was away, and until when such
             a lease lasts
    away     since when this server had been away then: the last heartbeat before it, in milliseconds
    awaited  "<until> <router> <router>...": the data were lost, and these routers have not told all of their users yet

  A later version of this library may add fields here.
]]
local LAYOUT = '3'
-- Versions beyond it would lose their last digits where numbers are doubles.
local MOST = 4503599627370496
local EPOCH = 1577836800000
-- No server makes so many changes in a millisecond: where data are lost, the time gives a version that is above all of theirs,
-- also to a router that remembers none. Another server, whose clock is behind, may give a lower one; then the routers that
-- remember raise it.
local FLOOR_PER_MS = 256
local call, pcall, floor, format, match, find = redis.call, redis.pcall, math.floor, string.format, string.match, string.find
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

-- A number that we wrote: not negative, an integer, and not beyond what is exact.
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end

-- Another type of key than ours is none.
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end

-- As routers expect it in messages.
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  -- No router has counted that far. What was counted is lost, so these are other data.
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    -- Less than every layout has: something of ours was lost, or it is somebody else's.
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    -- What is there and says nothing ended long ago: the next beat takes it away.
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end

-- What a caller is answered that looks in the wrong buckets, or meets data of another layout; nil where all is well. In data
-- that the caller knows by their epoch, a seed or a layout that differ were put there by somebody else.
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
