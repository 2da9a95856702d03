--[[
  Lists the deliveries.

  KEYS[1]  lease, see shared.lua
  KEYS[2]  deliveries, see claim.lua

  Result: a line for each: "name|held|ended|cursor|router|error", "held" being "1" where a router with a live lease has it. Names are
  written without "|" and line breaks.
]]
local leaseKey, deliveriesKey = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Another program has filled the hash: more than claim.lua writes.
local size = redis.pcall('HLEN', deliveriesKey)
if type(size) ~= 'number' or size > 2000 then return '' end
local fields, lines = redis.pcall('HGETALL', deliveriesKey), {}
for i = 1, #fields, 2 do
  local token, holder, rest = string.match(fields[i + 1], '^(%d+)|([^|]*)|([01]|[^|]+|[^|]*|[^|]*)')
  if token and string.find(fields[i], '^[%w_.:-]+$') then
    local deadline = holder ~= '' and redis.pcall('ZSCORE', leaseKey, holder)
    local isHeld = type(deadline) == 'string' and tonumber(deadline) > now
    lines[#lines + 1] = fields[i] .. '|' .. (isHeld and '1' or '0') .. '|' .. rest
  end
end
return table.concat(lines, '\n')
