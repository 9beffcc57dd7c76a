-- FleetCluster: it belongs to the fleet, and its agents are heard.
local hs = {status = "Progressing", message = "nobody has said anything about it yet"}
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local joined, connected = found["Joined"], found["Connected"]
for _, name in ipairs({"Accepted", "ResolvedRefs"}) do
  if found[name] ~= nil and found[name].status == "False" then
    hs.status = "Degraded"
    hs.message = found[name].reason .. ": " .. found[name].message
    return hs
  end
end
if joined ~= nil and joined.status ~= "True" then
  hs.message = joined.reason .. ": " .. joined.message
elseif connected ~= nil and connected.status == "False" then
  hs.status = "Degraded"
  hs.message = connected.reason .. ": " .. connected.message
elseif connected ~= nil and connected.status == "True" then
  hs.status = "Healthy"
  hs.message = "its agents are heard"
elseif found["Accepted"] ~= nil then
  hs.status = "Healthy"
  hs.message = "accepted; nobody says whether its agents are heard"
end
return hs
