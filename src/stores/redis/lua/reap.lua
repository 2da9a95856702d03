--[[
  Takes a dead router away from the users of some buckets. Does nothing while its lease runs; may be repeated.

  KEYS[1..6], ARGV[1..7]  see shared.lua
  KEYS[7..]               the buckets
  ARGV[8]                 the dead incarnation
  ARGV[9]                 the number of the first bucket
  ARGV[10]                '1': these are the last ones, and then nothing of it is left
  ARGV[11]                after how many users the call ends, so that nobody waits long

  Result: {"done":how many of the buckets, -1 while its lease runs,"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}.
]]
local tag, first, most = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[11])
local deadline = call('ZSCORE', KEYS[1], tag)
if deadline and tonumber(deadline) > now then
  return format('{"done":-1,"now":%d,"e":"%s","seq":%d,"off":[]}', now, epoch, stored)
end
local needle = ',' .. tag .. ','
local size, done, examined = #KEYS - 6, 0, 0
while done < size and examined < most do
  local key = KEYS[7 + done]
  local bucket = format('%d', first + done)
  local fields = call('HGETALL', key)
  for i = 1, #fields, 2 do
    local from, to = string.find(fields[i + 1], needle, 1, true)
    if from then
      local id = fields[i]
      local version, seen, grace, owners = parse(fields[i + 1])
      from, to = string.find(owners, needle, 1, true)
      owners = string.sub(owners, 1, from) .. string.sub(owners, to + 1)
      if owners == ',' then seen = latest(id, seen) end
      if grace <= now then grace = 0 end
      if version > 0 and owners == ',' and grace == 0 then
        version = flip(key, id, false, seen, 'node-down')
        examined = examined + 4
      end
      save(key, id, version, seen, grace, owners)
    end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end

if done == size and ARGV[10] == '1' then
  call('ZREM', KEYS[1], tag)
  call('HDEL', KEYS[2], tag)
else
  local node = call('HGET', KEYS[2], tag)
  if node then
    call('HSET', KEYS[2], tag, (string.gsub(node, '%d+$', format('%d', now + 1000))))
  end
end
finish()
return format('{"done":%d,"now":%d,"e":"%s","seq":%d,"off":[%s]}', done, now, epoch, seq, table.concat(gone, ','))
