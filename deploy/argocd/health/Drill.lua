-- Drill: right, and what came of its last run. One that never ran is none the worse.
local hs = {status = "Healthy", message = "it has not run yet"}
if obj.status == nil then
  return hs
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Accepted" and condition.status == "False" then
    hs.status = "Degraded"
    hs.message = condition.reason .. ": " .. condition.message
    return hs
  end
end
local last = obj.status.lastRun
if last == nil then
  return hs
end
hs.message = last.message or "every objective was met"
if last.result == "Running" then
  hs.status = "Progressing"
  hs.message = "it runs"
elseif last.result ~= "Passed" then
  hs.status = "Degraded"
  hs.message = last.result .. ": " .. (last.message or "see its report")
end
return hs
