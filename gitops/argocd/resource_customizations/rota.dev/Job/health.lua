-- A Job that others wait for (a hook, or one in a sync wave) is Healthy once it completed, and Degraded if it ended in
-- any other way, as a batch Job is. Any other Job is work that happens to be in Git: it is Healthy once the operator has
-- accepted it, however long it waits and however it ends.
local annotations = obj.metadata.annotations or {}
local awaited = annotations["argocd.argoproj.io/hook"] ~= nil
  or annotations["argocd.argoproj.io/sync-wave"] ~= nil
  or annotations["helm.sh/hook"] ~= nil
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to look at it" }
end
local waits = nil
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.status == "True" then
    if condition.type == "Stalled" then
      return { status = "Degraded", message = condition.message }
    end
    if condition.type == "Complete" then
      return { status = "Healthy", message = "Completed, " .. condition.message }
    end
    if condition.type == "Failed" or condition.type == "Cancelled" or condition.type == "Skipped" then
      local message = condition.type .. " (" .. condition.reason .. "), " .. condition.message
      return { status = awaited and "Degraded" or "Healthy", message = message }
    end
  elseif condition.type == "Dispatched" then
    waits = condition.message
  end
end
local message = obj.status.phase or "Pending"
if waits ~= nil then
  message = message .. ": " .. waits
end
if not awaited then
  return { status = "Healthy", message = message }
end
return { status = obj.spec.hold and "Suspended" or "Progressing", message = message }
