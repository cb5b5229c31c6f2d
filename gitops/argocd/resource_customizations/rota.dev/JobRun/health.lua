-- A record is a record, whatever it records.
if obj.status == nil then
  return { status = "Healthy", message = "Record" }
end
return { status = "Healthy", message = obj.status.phase .. " (" .. obj.status.reason .. ")" }
