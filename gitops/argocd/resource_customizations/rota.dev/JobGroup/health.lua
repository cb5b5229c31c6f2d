-- The same rule as for a Job: a group that others wait for (a hook, or one in a sync wave) is Healthy once no member
-- failed, and Degraded if it ended in any other way; any other group is Healthy once the operator has accepted it.
local annotations = obj.metadata.annotations or {}
local awaited = annotations["argocd.argoproj.io/hook"] ~= nil
  or annotations["argocd.argoproj.io/sync-wave"] ~= nil
  or annotations["helm.sh/hook"] ~= nil
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to look at it" }
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.status == "True" then
    if condition.type == "Stalled" then
      return { status = "Degraded", message = condition.message }
    end
    if condition.type == "Complete" then
      return { status = "Healthy", message = condition.message }
    end
    if condition.type == "Failed" or condition.type == "Cancelled" then
      return { status = awaited and "Degraded" or "Healthy", message = condition.reason .. ": " .. condition.message }
    end
  end
end
local message = obj.status.phase or "Created"
local counts = obj.status.counts
if counts ~= nil then
  local ended = (counts.completed or 0) + (counts.failed or 0) + (counts.skipped or 0)
  message = message .. ": " .. ended .. " of " .. (counts.total or 0) .. " members have ended"
end
if not awaited then
  return { status = "Healthy", message = message }
end
return { status = obj.spec.started == false and "Suspended" or "Progressing", message = message }
