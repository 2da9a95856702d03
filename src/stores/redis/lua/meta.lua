--[[
  The beginning of every script that finds users by their buckets; it is not a script itself.

  The hash "meta" describes the data. Values that another program has put there count as missing.

    layout   the number of this layout; a router of another layout changes nothing
    seed     16 hexadecimal digits on which the bucket of a user depends, so that nobody can choose ids that share a bucket.
             The digits after them are the base: versions in records are relative to it
    epoch    "<seconds>.<microseconds>": when these data began
    seq      the version of the last change. New data begin at a version that is calculated from the time, and is above all
             earlier ones: see FLOOR_PER_MS
    at       the time of the last beat of any router, in milliseconds
    extended "<when> <until>": when leases were last extended because this server was away, and when the longest of those
             leases ends
    away     the time of the last heartbeat before that, in milliseconds
    log      "<changes> <milliseconds> <until> <oldest>": how many changes the logs of this fleet keep and how long, which is the most
             that any router wants; until when that holds, unless such a router beats again; and the version before which the log
             is too old
    awaited  "<until> <router> <router>...": the data were lost, and these routers have not registered all of their users yet

  A later version of this library may add fields here.
]]
local LAYOUT = '3'
-- Larger versions would lose digits, since numbers are doubles.
local MOST = 4503599627370496
local EPOCH = 1577836800000
-- More changes than a server makes in a millisecond: a version calculated from the time is above all versions of lost data, even
-- if no router remembers them. On a server whose clock is behind, it may be lower; then the routers that remember raise it.
local FLOOR_PER_MS = 256
-- Locals, since each lookup of a global takes as long as a hundredth of a leave.
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

-- Parses a non-negative integer; nil where it is invalid or too large to be exact.
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end

-- Whether a command has failed, for example on a key of another type.
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end

-- Whether a text is an epoch in the form that routers accept in messages.
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  -- An invalid or impossible version was written by another program. The count is lost, so these are new data.
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    -- Less than every layout has: fields were lost, or another program has written the hash.
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    -- An invalid value counts as one that has ended: the next beat deletes it.
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end

-- The answer for a caller with another seed or layout than the data; nil where both are the same. In data whose epoch the caller
-- knows, another program has written the different seed or layout.
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
