-- FailoverPolicy, FailoverProfile, GatewayTemplate: right, resolved and in force at what was last written.
local hs = {status = "Progressing", message = "nobody has said anything about it yet"}
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
for _, condition in ipairs(obj.status.conditions) do
  if condition.observedGeneration ~= nil and obj.metadata.generation ~= nil and condition.observedGeneration < obj.metadata.generation then
    hs.message = "the last change was not looked at yet"
    return hs
  end
end
for _, condition in ipairs(obj.status.conditions) do
  if (condition.type == "Accepted" or condition.type == "ResolvedRefs") and condition.status == "False" then
    hs.status = "Degraded"
    hs.message = condition.reason .. ": " .. condition.message
    return hs
  end
end
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Programmed" then
    if condition.status == "True" then
      hs.status = "Healthy"
      hs.message = "in force"
    else
      hs.message = condition.reason .. ": " .. condition.message
    end
    return hs
  end
end
if obj.kind == "GatewayTemplate" and #obj.status.conditions > 0 then
  -- In force as soon as it is accepted: gateways that are there take some of it with their next start.
  hs.status = "Healthy"
  hs.message = "accepted"
  return hs
end
hs.message = "accepted, and not in force yet"
return hs
