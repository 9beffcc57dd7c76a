-- TrafficShift: it is carried out, or over.
local hs = {status = "Progressing", message = "no agent has begun"}
if obj.status == nil then
  return hs
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if (condition.type == "Accepted" or condition.type == "ResolvedRefs") and condition.status == "False" then
    hs.status = "Degraded"
    hs.message = condition.reason .. ": " .. condition.message
    return hs
  end
  if condition.type == "Programmed" and condition.status == "True" then
    hs.status = "Healthy"
    hs.message = "traffic is moved away"
  end
end
if obj.status.phase == "Active" then
  hs.status = "Healthy"
  hs.message = "traffic is moved away"
elseif obj.status.phase == "Ended" then
  hs.status = "Healthy"
  hs.message = "its time is over: remove it"
elseif obj.status.phase == "Refused" then
  hs.status = "Degraded"
  hs.message = "it is not carried out"
end
return hs
