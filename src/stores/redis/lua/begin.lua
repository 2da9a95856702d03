--[[
  Begins data where there are none, or makes what is left of them usable again: writes their epoch, their layout and their seed.

  KEYS[1]   meta, see meta.lua
  KEYS[2]   grace, see shared.lua
  KEYS[3]   count, see shared.lua
  KEYS[4..] all buckets
  ARGV[1]   the seed by which the caller finds the buckets
  ARGV[2]   the epoch of the data in which that seed was in use; empty: the caller knows of none, and proposes the seed

  Result: {"e":epoch,"seed":the seed from now on,"junk":[keys in which something was that is not ours, and was deleted]}; or
  "!{...}", see meta.lua, where another router was faster.
]]
local metaKey, graceKey, countKey = KEYS[1], KEYS[2], KEYS[3]
local seed, knownEpoch = ARGV[1], ARGV[2]
local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end

local isNew, isUnknown, junk = not meta.epoch, knownEpoch == '', ''
local seq = meta.seq
-- Above all versions that were given. Where the clock of this server is behind, the routers that remember raise it.
if isNew or seq == 0 then seq = versionNow() end
seq = math.max(seq, baseOf(seed))
local epoch = meta.epoch or time[1] .. '.' .. time[2]

-- On all buckets, some at a time; gives the sum of the answers.
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
  -- By a seed that nobody has used what was there can't be found any more.
  call('UNLINK', graceKey, countKey)
  onBuckets('UNLINK')
  call('HSET', countKey, '', '0')
end
-- No record is left that counts from the old base. From a new one versions are short again.
if isUnknown or (isNew and onBuckets('EXISTS') == 0) then seed = format('%s%x', string.sub(seed, 1, 16), seq) end
call('HSET', metaKey, 'layout', LAYOUT, 'seed', seed)
return format('{"e":"%s","seed":"%s","junk":[%s]}', epoch, seed, junk)
