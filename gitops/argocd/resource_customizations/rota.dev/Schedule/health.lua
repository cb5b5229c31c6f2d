-- Healthy if it fires as written. How its runs ended is the business of whoever reads the records, not of the object's
-- health: one failed night must not block a promotion. A schedule that was turned off is Healthy too.
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to look at it" }
end
local ready = nil
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return { status = "Degraded", message = condition.message }
  end
  if condition.type == "Ready" then
    ready = condition
  end
end
if ready ~= nil and ready.status == "True" then
  if obj.spec.enabled == false then
    return { status = "Healthy", message = "Turned off" }
  end
  if obj.status.nextTriggerTime ~= nil then
    return { status = "Healthy", message = "Next at " .. obj.status.nextTriggerTime }
  end
  return { status = "Healthy", message = ready.message }
end
return { status = "Progressing", message = ready and ready.message or "Waiting for the operator to check it" }
