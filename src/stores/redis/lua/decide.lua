--[[
  The rule: how an event changes the record of a user. A translation of src/stores/transitions.ts, which explains it; one table of
  tests checks both. It is put before every script that changes or judges a status, and is not a script itself. Pure.

  online  whether the user was last published as online
  grace   when the grace ends, in milliseconds; 0 where none is running
  owners  the incarnations of routers that hold the user, each between commas; "," for none
  seen    when the user was last seen, in milliseconds
  event   'j' join, 'r' join that registers the user again, 'l' leave after a clean close, 't' leave after a time-out,
          'a' activity, 'dead', 'due'; a number: dropped, with a grace of that many milliseconds
  owner   the incarnation of the router of the event
  heard   the time of the last activity that this router has received from the user
  now     the time

  Returns the new values of the first four; the reason of a change before the event, and the reason of the change by
  the event, each nil where there was none; and whether the event was ignored.
]]
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  -- Nearly all users are held by one router, and those of a call by the same one.
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end

-- Decides about a lease that ends at `endsAt`: 'runs', 'extend', or 'dead', whose router is to be reaped.
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
