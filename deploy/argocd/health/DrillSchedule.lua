-- DrillSchedule: right, and its drill is there. What came of the drill is the drill's own health.
local hs = {status = "Healthy", message = "it waits for its time"}
for _, condition in ipairs((obj.status or {}).conditions or {}) do
  if (condition.type == "Accepted" or condition.type == "ResolvedRefs") and condition.status == "False" then
    hs.status = "Degraded"
    hs.message = condition.reason .. ": " .. condition.message
    return hs
  end
end
if obj.spec.suspend == true then
  hs.status = "Suspended"
  hs.message = "it is switched off"
end
return hs
