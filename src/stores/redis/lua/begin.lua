--[[
  Begins new data, or makes the rest of damaged data usable again: writes their epoch, their layout and their seed.

  KEYS[1]   meta, see meta.lua
  KEYS[2]   grace, see shared.lua
  KEYS[3]   count, see shared.lua
  KEYS[4..] all buckets
  ARGV[1]   the seed with which the caller finds the buckets
  ARGV[2]   the epoch of the data that use that seed; empty: the caller knows of none, and proposes the seed

  Result: {"e":epoch,"seed":the seed from now on,"junk":[keys in which foreign data was deleted]}; or "!{...}", see meta.lua,
  where another router was faster.
]]
local metaKey, graceKey, countKey = KEYS[1], KEYS[2], KEYS[3]
local seed, knownEpoch = ARGV[1], ARGV[2]
local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end

-- A caller that knows of no data cannot find the users of those that are there: they are other data from now on.
local isUnknown, junk = knownEpoch == '', ''
local isNew = isUnknown or not meta.epoch
local seq = meta.seq
-- Above all earlier versions. Where the clock of this server is behind, routers that remember a higher one raise it.
if isNew or seq == 0 then seq = math.max(seq, versionNow()) end
seq = math.max(seq, baseOf(seed))
local epoch = not isNew and meta.epoch or time[1] .. '.' .. time[2]

-- Runs a command on all buckets, some at a time, and returns the sum of the answers.
local function onBuckets(command)
  local sum = 0
  for from = 4, #KEYS, 1000 do sum = sum + call(command, unpack(KEYS, from, math.min(from + 999, #KEYS))) end
  return sum
end

local written = pcall('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
if isError(written) then
  if find(written.err, 'WRONGTYPE', 1, true) then
    call('UNLINK', metaKey)
    junk = json(metaKey)
  end
  call('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
end
if isNew then call('HSET', metaKey, 'lost', '0', 'lostAt', isUnknown and '0' or format('%d', now)) end
if isUnknown then
  -- Users in the old buckets cannot be found with the new seed.
  call('UNLINK', graceKey, countKey)
  onBuckets('UNLINK')
  call('HSET', countKey, '', '0')
end
-- No record is left whose version is relative to the old base. With a new base, versions are short again.
if isUnknown or (isNew and onBuckets('EXISTS') == 0) then seed = format('%s%x', string.sub(seed, 1, 16), seq) end
call('HSET', metaKey, 'layout', LAYOUT, 'seed', seed)
return format('{"e":"%s","seed":"%s","junk":[%s]}', epoch, seed, junk)
