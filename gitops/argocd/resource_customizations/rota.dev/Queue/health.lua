-- Healthy once the operator has looked at it, also while it is paused, as it is then what was written. Only while another leader
-- holds it are its Jobs not started, and that passes.
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator to look at it" }
end
local ready = nil
local paused = nil
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Ready" then
    ready = condition
  elseif condition.type == "Paused" and condition.status == "True" then
    paused = condition
  end
end
if ready ~= nil and ready.status == "True" then
  return { status = "Healthy", message = paused and "Paused: " .. paused.message or ready.message }
end
return { status = "Progressing", message = ready and ready.message or "Waiting for the operator to look at it" }
