-- wrk -s load.lua URL -- create SALT    creates of customers, no two alike while SALT is another
-- wrk -s load.lua URL -- get FILE       gets of customers in turn, by the ids on FILE's lines
-- wrk -s load.lua URL -- same           the same get each time
-- Nobody whom it makes has a tag or a word that data.py counts.
-- What was counted is told at the end, as one line of JSON.

local firsts = {"Jane", "Ravi", "Marta", "Björn", "Aisha", "Kenji", "Chloe", "Omar"}
local lasts = {"Doe", "Bergman", "Hallstrom", "Rosenwald", "Krag", "Fairholt", "Lindquist"}
local accounts = {"basic", "standard", "premium"}
local customer = '{"email":"%s.%d@example.com","firstName":"%s","lastName":"%s",'
  .. '"phone":"+1555%07d","companyName":"Acme %d","external_id":"%s-%d","tags":["load","group-%d"],'
  .. '"custom_fields":{"account_type":"%s"},'
  .. '"communication_preferences":{"sms":true,"email":true,"voice":false}}'
local number = 0
local ways = {}

function ways.create(salt)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  return function()
    return wrk.format(nil, nil, nil, customer:format(
      salt, number, firsts[number % #firsts + 1], lasts[number % #lasts + 1], number % 10000000,
      number % 500, salt, number, number % 30, accounts[number % #accounts + 1]))
  end
end

function ways.get(file)
  local paths = {}
  for id in io.lines(file) do
    paths[#paths + 1] = wrk.path .. "/" .. id
  end
  return function()
    return wrk.format(nil, paths[number % #paths + 1])
  end
end

function ways.same()
  return function()
    return wrk.format()
  end
end

function init(arguments)
  local make = ways[arguments[1]](arguments[2])
  function request()
    number = number + 1
    return make()
  end
end

function done(summary, latency, requests)
  local places = {}
  for percent = 1, 99 do
    places[#places + 1] = latency:percentile(percent)
  end
  for _, percent in ipairs({99.5, 99.9, 100}) do
    places[#places + 1] = latency:percentile(percent)
  end
  local errors = summary.errors
  io.write(string.format(
    '{"answers":%d,"microseconds":%d,"refused":%d,"broken":%d,"percentiles":[%s]}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, table.concat(places, ",")))
end
